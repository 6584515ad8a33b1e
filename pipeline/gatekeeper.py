"""Judge URLs by their origins' files and by response headers; every statement met becomes a Signal."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from filters import aipref, rsl, tdmrep
from filters.policy import REASON_OF
from filters.signal import Category, Mechanism, Signal, Statement, Value
from filters.xrobots import denied, header_directives
from pipeline.client import Client, Headers, site_of
from pipeline.fetch_options import FetchOptions
from pipeline.origin_ask import CACHE, Clock, ask_origin
from pipeline.origin_policy import OriginPolicy, utc_now
from pipeline.origin_rules import OriginRules
from pipeline.origin_share import OriginShare
from pipeline.trouble import Trouble

_RAW_CHARS: Final = 1000
_CATEGORY: Final[dict[str, Category]] = {"noai": "train", "noimageai": "train"}


@dataclass(slots=True)
class Gatekeeper:
    """Let through what nobody denies, by the options' policy."""

    options: FetchOptions
    policies: Mapping[str, OriginPolicy]
    client: Client | None = None  # None: judge by known policies alone, ask nobody
    clock: Clock = utc_now
    share: OriginShare | None = None  # where workers tell one another what they asked
    _rules: dict[str, OriginRules] = field(default_factory=dict)
    _found: dict[str, OriginPolicy] = field(default_factory=dict)
    _asked: dict[str, "asyncio.Future[OriginPolicy]"] = field(default_factory=dict)

    async def may_ask(self, url: str, signals: list[Signal]) -> None:
        """Judge a URL before anything is sent, by its origin's files; unknown origins are asked first."""
        if not self.options.robots:
            return
        origin = site_of(url)
        policy = self.policies.get(origin) or self._found.get(origin)
        if policy is None and self.client is not None:
            policy = self._found[origin] = await self._look_up(self.client, origin)
        if policy is not None:
            self.judge_policy(url, policy, signals)

    def close(self) -> None:
        """Stop asking origins that nobody waits for any more."""
        for asking in self._asked.values():
            asking.cancel()

    async def _look_up(self, client: Client, origin: str) -> OriginPolicy:
        options = self.options
        key = (origin, f"{options.user_agent} {sorted(options.allow_hosts)} {sorted(options.hosts.items())}")
        if (cached := CACHE.get(key)) is not None:
            return cached
        asking = self._asked.get(origin)
        if asking is None:
            asking = self._asked[origin] = asyncio.ensure_future(self._ask(client, origin))
        policy: OriginPolicy = await asyncio.shield(asking)
        CACHE.put(key, policy)
        return policy

    async def _ask(self, client: Client, origin: str) -> OriginPolicy:
        if self.share is None:
            return await ask_origin(client, origin, self.clock)
        return await self.share.once(
            origin, lambda: ask_origin(client, origin, self.clock), wait_s=self.options.timeout_s / 3
        )

    def rules(self, policy: OriginPolicy) -> OriginRules:
        """Return a policy's files, parsed once."""
        rules = self._rules.get(policy.origin)
        if rules is None or rules.policy is not policy:
            rules = self._rules[policy.origin] = OriginRules(policy, self.options.user_agent_token)
        return rules

    def judge_policy(self, url: str, policy: OriginPolicy, signals: list[Signal]) -> None:
        """Apply one origin's policy to a URL; Trouble when it denies. Who forbids the visit is obeyed by any policy."""
        rules = self.rules(policy)
        (signal, detail), reason = rules.crawl(url)
        signals.append(signal)
        if reason is not None:
            raise Trouble(reason, detail)
        # A header could supersede tdmrep.json, but to see it we would have to ask for what is reserved: we do not.
        self._weigh(list(rules.uses(url)), signals)

    def judge_page(self, url: str, policy: OriginPolicy, signals: list[Signal]) -> None:
        """Apply one origin's policy to a page that its crawler read: the use of its texts, not the visit."""
        self._weigh(list(self.rules(policy).uses(url)), signals)
        if (found := self.options.policy.unclear(signals)) is not None and found.signal is not None:
            raise Trouble(found.reason, found.signal.raw)

    def may_use(self, url: str, headers: Headers, signals: list[Signal]) -> None:
        """Judge by a response's headers: X-Robots-Tag for our token, TDM reservation, AI preferences, licences."""
        said: list[tuple[Signal, str]] = []
        if (lines := headers.getall("X-Robots-Tag", None)) is not None:
            said.append(self._xrobots(url, lines))
        if (fields := headers.getall("tdm-reservation", None)) is not None:
            said.append(self._tdm(url, fields, headers.get("tdm-policy", "")))
        if (usage := headers.getall("Content-Usage", None)) is not None:
            found = (self._signal(url, "aipref-header", statement) for statement in aipref.read_header(usage))
            said += [(signal, signal.raw) for signal in found]
        if (links := headers.getall("Link", None)) is not None:
            said += [(signal, f"rsl: {signal.raw}") for signal in self._licences(url, links)]
        self._weigh(said, signals)

    def settle(self, signals: Sequence[Signal]) -> None:
        """Judge what `unknown` means once all statements on a picture are known; Trouble when it may not be kept."""
        found = self.options.policy.held(signals)
        if found is not None:
            raise Trouble(found.reason, found.signal.raw if found.signal else "nobody allows training")

    def _weigh(self, said: Sequence[tuple[Signal, str]], signals: list[Signal]) -> None:
        """Note all statements, so that another policy can judge them, then refuse by the first that denies."""
        signals += [signal for signal, _ in said]
        for signal, detail in said:
            if self.options.policy.denies(signal):
                raise Trouble(REASON_OF[signal.mechanism], detail)

    def _xrobots(self, url: str, lines: Sequence[str]) -> tuple[Signal, str]:
        directives = header_directives(lines, self.options.user_agent_token)
        directive = denied(directives, tuple(self.options.disallowed))
        category = _CATEGORY.get(directive or "noai", "search")
        value: Value = "unknown" if directive is None else "deny"
        statement = Statement(category, value, "\n".join(lines)[:_RAW_CHARS])
        return self._signal(url, "x-robots-tag", statement), f"X-Robots-Tag: {directive}"

    def _tdm(self, url: str, fields: Sequence[str], policy: str) -> tuple[Signal, str]:
        text = ", ".join(fields)
        header = tdmrep.header_value(text)
        value: Value = "unknown" if header is None else "deny" if header else "allow"
        raw = (f"tdm-reservation: {text}" + (f"; tdm-policy: {policy}" if policy else ""))[:_RAW_CHARS]
        return self._signal(url, "tdm-header", Statement("tdm", value, raw, "malformed" if header is None else "")), raw

    def _licences(self, url: str, links: Sequence[str]) -> list[Signal]:
        """Return what linked RSL licences say; one that its origin's robots.txt does not link is noted, not fetched."""
        found: list[Signal] = []
        origin = site_of(url)
        policy = self.policies.get(origin) or self._found.get(origin)
        for licence in rsl.link_licences(links, url):
            known = self.rules(policy).licence(licence, url) if policy is not None else None
            if known is None:
                known = [self._signal(url, "rsl", Statement("train", "unknown", f"Link: <{licence}>", "unreadable"))]
            found += known
        return found

    def _signal(self, url: str, mechanism: Mechanism, said: Statement) -> Signal:
        return Signal(url, "asset", mechanism, said.category, said.value, "*", said.raw, self.clock(), said.flag)
