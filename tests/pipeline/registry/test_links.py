"""Links by which people follow their requests: only who has one gets there, and the registry does not know it."""

from pipeline.registry.links import follow, new_link
from pipeline.registry.registry import Registry
from pipeline.registry.tables import link


def test_a_link_leads_to_its_request_and_the_registry_does_not_know_it(either: Registry) -> None:
    one, other = (either.add("domain", name, source="web", held=True) for name in ("a.example", "b.example"))
    secrets = [new_link(either, one.id), new_link(either, one.id), new_link(either, other.id)]
    assert [len(secret) for secret in secrets] == [27] * 3  # 160 bits in base64
    assert [follow(either, secret) for secret in secrets] == [one.id, one.id, other.id]
    secret = secrets[0]
    for wrong in (secret[:-1], secret + "A", "", "\ud800", secret.swapcase(), one.id):
        assert follow(either, wrong) is None
    with either.engine.connect() as connection:
        rows = connection.execute(link.select()).all()
    assert len(rows) == 3
    assert not any(known.encode() in bytes(row.hash) for row in rows for known in secrets)
