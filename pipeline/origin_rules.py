"""One origin's files, parsed once, and every statement they make on a URL."""

import hashlib
from collections.abc import Iterator

from filters import ai_txt, aipref, content_signal, proxy_tokens, robots, rsl, tdmrep, trust_txt
from filters.signal import Flag, Mechanism, Scope, Signal, Statement, Value
from pipeline.origin_policy import NOT_JSON, OriginPolicy, SmallFile

Said = tuple[Signal, str]
"""A signal, and how a refusal that it causes is explained."""


class OriginRules:
    """What an origin's policy means for one product token."""

    def __init__(self, policy: OriginPolicy, token: str) -> None:
        self.policy = policy
        self._token = token
        self._robots = robots.parse(policy.robots_body, truncated=policy.truncated)
        self._proxies = proxy_tokens.ProxyGroups(self._robots)
        self._content_signals = content_signal.read(self._robots, token)
        self._tdm = tdmrep.parse_file(policy.tdmrep_body) if policy.tdmrep_body else None
        self._tdm_digest = _digest(policy.tdmrep_body)
        self._digests = {file.url: _digest(file.body) for file in policy.files}
        bodies = {file.kind: file for file in policy.files if file.body}
        self._ai = ai_txt.parse(bodies["ai.txt"].body) if "ai.txt" in bodies else None
        self._trust = trust_txt.parse(bodies["trust.txt"].body) if "trust.txt" in bodies else None
        self._licence = rsl.parse(bodies["rsl"].body) if "rsl" in bodies else None

    def crawl(self, url: str) -> tuple[Said, str | None]:
        """Say whether robots.txt lets us ask for a URL: the statement, and the reason where it does not."""
        policy = self.policy
        if (reason := policy.unreachable) is not None:
            state = f"{policy.robots_trouble or 'status'}: {policy.robots_detail or policy.robots_status}"
            return (self._of_robots("robots.txt", Statement("crawl", "deny", state)), f"robots.txt: {state}"), reason
        said = f"status {policy.robots_status}, no rule"
        if policy.robots_trouble is not None:
            said = f"{policy.robots_trouble}: {policy.robots_detail}"
        if not self._robots.groups:
            flag: Flag = "unreadable" if policy.robots_trouble is not None else ""
            return (self._of_robots("robots.txt", Statement("crawl", "unknown", said, flag)), ""), None
        verdict = self._robots.verdict(url, self._token)
        value: Value = "deny" if not verdict.allowed else "allow" if verdict.rule else "unknown"
        signal = self._of_robots("robots.txt", Statement("crawl", value, verdict.rule or said))
        detail = f"robots.txt line {verdict.line}: {verdict.rule}"
        return (signal, detail), None if verdict.allowed else "robots_disallow"

    def uses(self, url: str) -> Iterator[Said]:
        """Yield every statement on the use of a URL, except on being crawled by us."""
        yield from self._proxy(url)
        for statement in self._content_signals:
            yield self._explained(self._of_robots("content-signal", statement, scope="host"))
        for statement in aipref.read_robots(self._robots, self._token, url):
            yield self._explained(self._of_robots("aipref-robots", statement))
        yield from self._tdmrep(url)
        for file in self.policy.files:
            yield from (self._explained(signal) for signal in self._of_file(file, url))

    def licence(self, licence_url: str, url: str) -> list[Signal] | None:
        """Return what the licence of this address says of a URL, if it is the one that robots.txt links."""
        for file in self.policy.files:
            if file.kind == "rsl" and file.url == licence_url:
                return list(self._of_file(file, url))
        return None

    def _proxy(self, url: str) -> Iterator[Said]:
        found = self._proxies.reservation(url)
        if found is None:
            return
        raw = "".join(f"User-agent: {token}\n" for token in found.tokens) + found.verdict.rule
        signal = self._of_robots("proxy-token", Statement("train", "deny", raw[:1000]), agent=found.tokens[0])
        names = ", ".join(found.tokens[:3]) + (f" and {len(found.tokens) - 3} more" if len(found.tokens) > 3 else "")
        where = f"robots.txt line {found.verdict.line}: {found.verdict.rule}"
        yield signal, f"{where}, for {names} (list of {proxy_tokens.VERSION})"

    def _tdmrep(self, url: str) -> Iterator[Said]:
        policy = self.policy
        trouble = policy.tdmrep_trouble
        if trouble is None and policy.tdmrep_body is not None and self._tdm is None:
            trouble = NOT_JSON
        if trouble is not None:
            flag: Flag = "malformed" if trouble == NOT_JSON else "unreadable"
            yield self._of_tdm(Statement("tdm", "unknown", trouble, flag)), ""
            return
        found = self._tdm.reservation(url) if self._tdm is not None else tdmrep.Reservation(None)
        if found.value is None and not found.raw:
            return
        value: Value = "unknown" if found.value is None else "deny" if found.value else "allow"
        flag = "malformed" if found.value is None else "nonconformant" if found.nonconformant else ""
        yield self._of_tdm(Statement("tdm", value, found.raw, flag)), f"tdmrep.json: {found.raw}"

    def _of_file(self, file: SmallFile, url: str) -> Iterator[Signal]:
        if file.trouble is not None:
            unreadable = Statement("train", "unknown", f"{file.url}: {file.trouble}", "unreadable")
            yield self._signal(file.url, "host", file.kind, unreadable, "*", None)
            return
        digest = self._digests[file.url]
        if file.kind == "ai.txt":
            statement = self._ai.statement(url, self._token) if self._ai is not None else None
            if self._ai is not None and statement is not None:
                yield self._signal(file.url, "path", "ai.txt", statement, self._ai.scope(self._token), digest)
        elif file.kind == "trust.txt":
            if self._trust is not None:
                yield self._signal(file.url, "host", "trust.txt", self._trust, "*", digest)
        elif self._licence is None:
            bad = Statement("train", "unknown", f"{file.url}: not an RSL licence", "malformed")
            yield self._signal(file.url, "host", "rsl", bad, "*", digest)
        else:
            for statement in self._licence.statements(url):
                yield self._signal(file.url, "path", "rsl", statement, "*", digest)

    def _of_robots(
        self, mechanism: Mechanism, said: Statement, *, scope: Scope = "path", agent: str | None = None
    ) -> Signal:
        policy = self.policy
        agent = agent or self._robots.scope(self._token)
        return self._signal(f"{policy.origin}/robots.txt", scope, mechanism, said, agent, policy.robots_sha256)

    def _of_tdm(self, said: Statement) -> Signal:
        subject = f"{self.policy.origin}/.well-known/tdmrep.json"
        return self._signal(subject, "path", "tdmrep.json", said, "*", self._tdm_digest)

    def _signal(
        self, subject: str, scope: Scope, mechanism: Mechanism, said: Statement, agent: str, digest: bytes | None
    ) -> Signal:
        observed = self.policy.observed_utc
        return Signal(
            subject, scope, mechanism, said.category, said.value, agent, said.raw, observed, said.flag, digest
        )

    def _explained(self, signal: Signal) -> Said:
        return signal, f"{signal.mechanism}: {signal.raw}"


def _digest(body: bytes | None) -> bytes | None:
    return hashlib.sha256(body).digest() if body else None
