"""The run's configuration: one TOML file, few keys, every one with its meaning, type and default."""

import difflib
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from filters import aipref, proxy_tokens, rsl
from filters.policy import DENY, ReleasePolicy, Unknown
from filters.signal import Category, Mechanism
from pipeline.errors import ConfigError
from pipeline.ids import stable_hash

SIGNAL_VERSIONS = {"proxy_tokens": proxy_tokens.VERSION, "aipref": aipref.DRAFTS, "rsl": rsl.VERSION}


class Section(BaseModel):
    """A table of the configuration; unknown keys are errors, and so are numbers that are none (nan, inf)."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class CandidatesConfig(Section):
    """Where pairs come from and how they are laid out in parts."""

    text_from: list[Literal["alt", "title", "figcaption"]] = Field(
        ["alt"], description="Texts of a picture in HTML, the first one present wins"
    )
    url_col: str = Field("url", description="Column of the URL in Parquet, CSV, TSV and JSONL lists")
    caption_col: str = Field("caption", description="Column of the text in such lists")
    base_url: str = Field("http://folder.invalid/", description="Address that a folder of HTML is taken to stand at")
    part_rows: int = Field(10_000, ge=1, description="Rows of a part, the unit of work")
    domain_share_frac: float = Field(
        0.1, gt=0, le=1, description="Largest share of one domain in a part, where there are enough domains"
    )
    common_crawl_url: str = Field(
        "https://data.commoncrawl.org/", description="Where `cc:CC-MAIN-…` inputs are read from, https or s3"
    )
    common_crawl_segments: list[int] | None = Field(
        None, description="Which files of the crawl's path listing to read; all when absent"
    )
    common_crawl_kind: Literal["wat", "warc"] = Field("wat", description="Which files of a Common Crawl to read")


class TextConfig(Section):
    """Which texts are worth a download."""

    min_chars: int = Field(5, ge=0, description="Fewest characters of a text")
    min_words: int = Field(1, ge=0, description="Fewest words of a text (five CJK characters pass as well)")
    max_chars: int = Field(1000, ge=1, description="Most characters of a text")
    drop_filenames: bool = Field(True, description="Drop texts that are file names")
    languages: list[str] | None = Field(None, description="ISO 639-1 codes of the languages to keep; all when absent")
    max_pictures: int = Field(50, ge=1, description="A text on more pictures than this is boilerplate")


class FetchConfig(Section):
    """How pictures are downloaded and stored."""

    engine: Literal["tamis", "img2dataset"] = Field(
        "tamis", description="Own downloader, or img2dataset's (extra `img2dataset`)"
    )
    from_warc: bool = Field(
        True, description="Take pictures from the crawl itself where it holds them, fetch the others"
    )
    allow_hosts: list[str] = Field([], description="Private hosts, addresses or networks that this run may dial")
    user_agent_token: str = Field(
        "tamis",
        pattern=r"^[A-Za-z_-]+$",
        description="Our product token: sent in User-Agent, looked up in robots.txt and X-Robots-Tag",
    )
    contact: str = Field(
        "", description="Address (URL or e-mail) that the User-Agent names, so that site owners can reach you"
    )
    disallowed: list[str] = Field(
        ["noai", "noimageai", "noindex", "noimageindex"],
        description="Directives of X-Robots-Tag and meta robots that mean no",
    )
    robots: bool = Field(True, description="Obey robots.txt and tdmrep.json")
    timeout_s: float = Field(30.0, gt=0, description="Total deadline of one URL, redirects and retries included")
    max_bytes: int = Field(20_000_000, ge=1, description="Most bytes of one response, compressed or not")
    max_px: int = Field(89_478_485, ge=1, description="Most pixels of a picture, checked before it is decoded")
    retries: int = Field(2, ge=0, description="How often a transient failure is tried again")
    concurrency: int = Field(64, ge=1, description="Downloads under way at once in a part")
    host_concurrency: int = Field(8, ge=1, description="Downloads under way at once from one host")
    resize_px: int = Field(256, ge=1, description="Side of the stored picture")
    resize_mode: Literal["keep_ratio", "keep_ratio_largest", "border", "center_crop", "no"] = Field(
        "keep_ratio", description="What resize_px means, as in img2dataset (keep_ratio: the shorter side)"
    )
    upscale: bool = Field(False, description="Enlarge smaller pictures too")
    encode_format: Literal["jpg", "png", "webp"] = Field("jpg", description="Format of the stored picture")
    encode_quality: int = Field(95, ge=1, le=100, description="JPEG or WebP quality of the stored picture")
    hashes: bool = Field(True, description="Compute perceptual hashes (64-bit pHash, PDQ)")
    threads: int = Field(2, ge=1, description="Threads that decode pictures in a worker")


class SignalsConfig(Section):
    """What machine-readable statements about use keep out of this data set; page and picture are judged separately."""

    deny: list[Category] = Field(
        list(DENY), description="Uses that nobody may have denied; `fetch.disallowed` names the robots directives"
    )
    unknown: Unknown = Field(
        "keep",
        description="Pictures on which nothing is known: keep (but hold what looks like a reservation and cannot be read), "
        "unclear (drop whatever cannot be read), drop (keep only what somebody allows to be trained on)",
    )
    proxy_tokens: bool = Field(
        True,
        description="A robots.txt that shuts out a training crawler (GPTBot, CCBot, …) reserves training from us too",
    )
    off: list[Mechanism] = Field(
        [], description="Mechanisms that decide nothing; what they say is recorded all the same"
    )
    page_origins: bool = Field(True, description="Ask the site of the page too, not only that of the picture")

    @field_validator("off")
    @classmethod
    def _robots_has_a_key(cls, value: list[Mechanism]) -> list[Mechanism]:
        if "robots.txt" in value:
            raise ValueError("robots.txt is switched off by fetch.robots = false, not here")
        return value


class ClipConfig(Section):
    """The model that judges whether picture and text agree."""

    model: str = Field(
        "tamis-mini",
        description="open_clip architecture, `hf-hub:…`, `local-dir:…`, or the bundled tamis-mini (for trying out)",
    )
    pretrained: str | None = Field(None, description="open_clip tag, or a local .pt/.safetensors file")
    threshold: float | None = Field(
        None,
        ge=-1,
        le=1,
        description="Smallest cosine that is kept; tamis-mini has a default (0.10), other models need yours",
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, …")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 autocast on CUDA, float32 on CPU"
    )
    batch: int = Field(64, ge=1, description="Pictures in a batch")
    compile: bool = Field(False, description="torch.compile the picture tower")


class FiltersConfig(Section):
    """Which pictures are kept."""

    min_px: int = Field(32, ge=0, description="Smallest shorter side of the original, in pixels")
    max_aspect: float = Field(5.0, ge=1, description="Largest ratio of the longer to the shorter side")
    max_vector_art: float | None = Field(
        None, ge=0, le=1, description="Largest simple-vector-art score; no limit when absent"
    )
    nsfw_head: str | None = Field(None, description="Linear head on the picture embedding (.pth, .safetensors, .npz)")
    max_nsfw_prob: float = Field(0.5, ge=0, le=1, description="Largest probability of the NSFW head or prompts")
    watermark_head: str | None = Field(None, description="Linear head for watermarks")
    max_watermark_prob: float = Field(0.8, ge=0, le=1, description="Largest probability of the watermark head")
    aesthetic_head: str | None = Field(None, description="Linear head or MLP for aesthetic scores (LAION's formats)")
    min_aesthetic: float | None = Field(None, description="Smallest aesthetic score; no limit when absent")
    zero_shot: dict[str, "ZeroShotConfig"] = Field({}, description="Heads made from prompts: [filters.zero_shot.NAME]")


class ZeroShotConfig(Section):
    """A filter made from two lists of prompts."""

    positive: list[str] = Field(description="Prompts that describe what to drop")
    negative: list[str] = Field(description="Prompts that describe what to keep")
    max_prob: float = Field(0.5, ge=0, le=1, description="Largest probability of the positive prompts")


class CopiesConfig(Section):
    """When two pictures are copies of each other."""

    enabled: bool = Field(True, description="Drop copies, keep the best of each group")
    phash_bits: int = Field(
        10, ge=0, le=31, description="Hamming radius of the 64-bit perceptual hash that proposes a pair"
    )
    pdq_bits: int = Field(31, ge=0, le=100, description="Hamming radius of PDQ that proposes a pair")
    neighbour_cos: float = Field(0.80, ge=-1, le=1, description="Cosine of picture embeddings that proposes a pair")
    min_agreement: float = Field(0.995, ge=0, le=1, description="Share of a pair's pixel blocks that must agree")
    target_recall: float = Field(
        0.99, ge=0.5, lt=1, description="Share of the near embeddings to be found, as measured against brute force"
    )
    semantic_cos: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Drop pictures too whose embedding is at least this near to a kept one's (SemDeDup); off when absent",
    )


class PackConfig(Section):
    """How shards are cut."""

    shard_samples: int = Field(10_000, ge=1, description="Most samples of a shard")
    shard_bytes: int = Field(500_000_000, ge=1, description="Most bytes of pictures in a shard, about")
    keep_snapshots: int = Field(
        2, ge=1, description="How many of the last snapshots keep their shards; a training keeps its own"
    )


class OptOutConfig(Section):
    """How the run obeys those who said no to this data set."""

    registry: str | None = Field(
        None,
        description="URL of the registry's database (sqlite:////…, postgresql://…); SQLite in the data set when absent",
    )
    lists: bool = Field(True, description="Obey the registry before fetching and after decoding")
    pdq_bits: int = Field(
        31, ge=0, le=63, description="Hamming radius within which a picture is taken for a listed one (PDQ)"
    )
    replace_lost: bool = Field(True, description="A copy of a removed picture may take its place")


class ControllerConfig(Section):
    """Who answers for the data set; written into its papers (`tamis disclose`), where what is absent is said to be missing."""

    name: str | None = Field(None, description="Name of the controller: who decides what the data set is for")
    contact: str | None = Field(
        None, description="Address (URL or e-mail) for requests to be left out; shown in the card"
    )
    representative: str | None = Field(None, description="Representative in the Union, or joint controllers")
    dpo: str | None = Field(None, description="Contact of the data protection officer")
    authority: str | None = Field(None, description="Supervisory authority that people may complain to")
    purposes: str | None = Field(None, description="What the data set is made for")
    legal_basis: str | None = Field(None, description="Legal basis, with the interests pursued where that is the basis")
    retention: str | None = Field(None, description="How long the data set is kept")
    transfers: str | None = Field(None, description="Transfers to third countries, and the safeguards; “none” where so")
    security: str | None = Field(None, description="Measures that protect the data set, beside those that tamis takes")
    url: str | None = Field(None, description="Where the data set or its page is published")


class ClusterConfig(Section):
    """The machine or machines the run uses; results never depend on it."""

    scheduler: str | None = Field(None, description="Address of a running dask scheduler; a local cluster when absent")
    workers: int | None = Field(None, ge=1, description="Worker processes of the local cluster; one a core when absent")
    in_flight: int | None = Field(None, ge=1, description="Parts under way at once; four a worker thread when absent")
    retries: int = Field(2, ge=0, description="How often dask tries a task again whose worker died")


class Config(Section):
    """A run: `tamis ingest crawl.toml`."""

    dataset: str = Field(description="Folder or s3:// address of the data set")
    inputs: list[str] = Field(
        min_length=1,
        description="WARC, WAT, HTML folders, URL lists, img2dataset folders, `cc:CC-MAIN-…`; globs allowed",
    )
    candidates: CandidatesConfig = CandidatesConfig()
    text: TextConfig = TextConfig()
    fetch: FetchConfig = FetchConfig()
    signals: SignalsConfig = SignalsConfig()
    clip: ClipConfig = ClipConfig()
    filters: FiltersConfig = FiltersConfig()
    copies: CopiesConfig = CopiesConfig()
    pack: PackConfig = PackConfig()
    optout: OptOutConfig = OptOutConfig()
    controller: ControllerConfig = ControllerConfig()
    cluster: ClusterConfig = ClusterConfig()

    def digest(self) -> str:
        """Return a hash of everything the result depends on (the cluster and the data set's place are left out)."""
        return stable_hash(self.public())

    def public(self) -> dict[str, Any]:
        """Return what the result depends on: neither places nor machines, nor how fast it is done.

        The versions of the lists and drafts that statements were read by are part of it.
        """
        how = {"clip": {"device", "batch", "compile"}, "fetch": {"concurrency", "host_concurrency", "threads"}}
        how["optout"] = {"registry"}  # its address may hold a password
        found = self.model_dump(mode="json", exclude={"cluster": True, "dataset": True, **how})
        found["signals"]["versions"] = dict(SIGNAL_VERSIONS)
        return found


def release_policy(signals: SignalsConfig) -> ReleasePolicy:
    """Return the policy that a configuration's [signals] describes."""
    deny, off = tuple(sorted(set(signals.deny))), tuple(sorted(set(signals.off)))
    return ReleasePolicy(deny, signals.unknown, signals.proxy_tokens, off)


FiltersConfig.model_rebuild()
Config.model_rebuild()


def load(path: Path) -> Config:
    """Read a configuration file; relative paths in it are relative to the current folder. ConfigError says what to mend."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file; `tamis config` prints one to start from") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    return parse(raw, str(path))


def parse(raw: dict[str, Any], where: str = "configuration") -> Config:
    """Check a parsed configuration; ConfigError lists every trouble, unknown keys with the nearest known one."""
    return checked(Config, raw, where, "tamis config")


S = TypeVar("S", bound=Section)


def checked(kind: type[S], raw: dict[str, Any], where: str, listing: str) -> S:
    """Return a parsed table as a section; ConfigError lists every trouble. `listing` is the command that prints the keys."""
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        lines = [f"{where}: {'.'.join(map(str, e['loc']))}: {_explain(e, kind, listing)}" for e in error.errors()]
        raise ConfigError("\n".join(lines)) from error


def _explain(error: Any, kind: type[BaseModel], listing: str) -> str:
    if error["type"] != "extra_forbidden":
        return str(error["msg"])
    loc = [str(part) for part in error["loc"]]
    known = [key for key, *_ in keys(kind)]
    leaf = {key.rsplit(".", 1)[-1]: key for key in known}
    near = difflib.get_close_matches(".".join(loc), known, 1, 0.6) or [
        leaf[k] for k in difflib.get_close_matches(loc[-1], list(leaf), 1, 0.6)
    ]
    return "unknown key" + (f"; did you mean `{near[0]}`?" if near else f"; `{listing}` lists the known ones")


def keys(model: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, str, Any, str]]:
    """Yield (dotted key, type, default, meaning) of every key."""
    for name, info in model.model_fields.items():
        annotation = info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from keys(annotation, f"{prefix}{name}.")
        else:
            default = "required" if info.is_required() else info.get_default()
            yield f"{prefix}{name}", _type_name(annotation), default, info.description or ""


def _type_name(annotation: Any) -> str:
    if getattr(annotation, "__origin__", None) is Literal:
        return " | ".join(repr(value) for value in get_args(annotation))
    name = annotation.__name__ if isinstance(annotation, type) and not get_args(annotation) else str(annotation)
    return name.replace("typing.", "").replace("pipeline.config.", "").replace("Optional[str]", "str | None")
