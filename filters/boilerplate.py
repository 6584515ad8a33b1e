"""Drop texts that say nothing of a picture because they stand beside very many of them."""

import pyarrow as pa

from filters.base import Filter, first_reason, no_score, numbers

READS = ("text_count", "text_domains")


def boilerplate(*, max_pictures: int = 50, max_pictures_per_domain: float = 10.0) -> Filter:
    """Drop a text used for more than `max_pictures` pictures, or more than so many for each domain that uses it.

    `text_count` is the number of different pictures (URLs) of the whole crawl beside which the text stands,
    `text_domains` the number of registrable domains it was found on; both are joined from a reduce over all parts.
    """

    def decide(table: pa.Table) -> pa.Array:
        count, domains = numbers(table, READS[0]), numbers(table, READS[1])
        missing = ~((count >= 1) & (domains >= 1))
        repeated = count > max_pictures_per_domain * domains
        cases = [
            (missing, "boilerplate_missing"),
            (count > max_pictures, "text_boilerplate"),
            (repeated, "text_repeated"),
        ]
        return first_reason(len(table), cases)

    return Filter("boilerplate", READS, ("boilerplate_missing", "text_boilerplate", "text_repeated"), no_score, decide)
