"""What every reason means, in a sentence for people: the report, the data card and the terminal say the same."""

MEANINGS = {
    # extraction
    "url_invalid": "The picture's address is missing or cannot be read as a URL.",
    "scheme_unsupported": "The picture's address is neither http nor https (data:, file:, …).",
    "text_empty": "The picture has no text, or nothing but white space.",
    "opted_out": "The page itself says that its pictures must not be used (robots tag or TDM reservation).",
    "opted_out_request": "Somebody asked that it be left out: by address, site, text or picture (the registry of requests).",
    "duplicate_pair": "The same picture address with the same text stands elsewhere in the crawl; one of them stays.",
    # texts
    "text_missing": "There is no text to judge.",
    "text_filename": "The text is a file's name, a camera's number or a hash.",
    "text_uninformative": "The text is a label that fits any picture, such as “image 3” or “click to enlarge”.",
    "text_short": "The text has too few words or characters to describe anything.",
    "text_long": "The text is a page of prose, not a caption.",
    "text_boilerplate": "The text stands beside too many pictures to say something of one of them.",
    "text_repeated": "The text is repeated over and over within few domains.",
    "boilerplate_missing": "How often the text occurs is not known.",
    "language_missing": "The text's language could not be looked for.",
    "language_other": "The text is surely in a language that was not asked for.",
    # permission
    "robots_disallow": "The site's robots.txt forbids fetching the picture.",
    "robots_unreachable": "The site's robots.txt could not be read, which counts as a no.",
    "tdm_reserved": "The site reserves text and data mining (TDMRep).",
    "noai_header": "The picture's own response says noai, noindex or the like (X-Robots-Tag).",
    "noai_page": "The page around the picture says noai, noindex or the like.",
    "training_reserved": "The site reserves training (Content-Signal, AIPREF, ai.txt, trust.txt, or by shutting out training crawlers).",
    "licence_denies": "The site's machine-readable licence (RSL) forbids training or asks for payment.",
    "rights_metadata": "The picture's own file reserves its use (IPTC/PLUS data mining or a TDM reservation in its XMP).",
    "c2pa_denied": "A content credential in the picture's file (C2PA, CAWG) denies or limits training or mining.",
    "signal_unclear": "A statement about use that cannot be read, and may be a no.",
    "not_allowed": "Nobody allows the use in so many words, and this data set keeps nothing else.",
    # the network
    "dns": "The host's name does not resolve.",
    "connect": "No connection to the host could be made.",
    "tls": "The host's certificate or encryption is not in order.",
    "timeout": "The picture did not arrive within the deadline.",
    "connection_reset": "The host broke the connection off.",
    "circuit_open": "The host had failed so often that it was left alone.",
    "http_4xx": "The host answered that the picture is gone or not for us (status 4xx).",
    "http_429": "The host asked for fewer requests (status 429), and went on asking.",
    "http_5xx": "The host was in trouble (status 5xx).",
    "redirect_loop": "The address redirects in a circle.",
    "redirect_scheme": "The address redirects to something that is neither http nor https.",
    "too_many_redirects": "The address redirects more often than is followed.",
    "private_address": "The address leads into a private network, which this run may not dial.",
    "too_large": "The response is larger than the limit.",
    "header_too_large": "The response's headers are larger than the limit.",
    "bad_encoding": "The response's compression is broken, or a bomb.",
    "incomplete_body": "The response ended before its stated length.",
    "empty_body": "The response is empty.",
    "capture_broken": "The crawl's own record of the picture cannot be read; the file is damaged or was replaced.",
    "not_fetched": "The picture was not asked for in this run.",
    # bytes to pixels
    "not_image": "The response is no picture.",
    "html_not_image": "The response is a web page, not a picture.",
    "svg_unsupported": "The picture is an SVG drawing, which is not rendered.",
    "truncated": "The end of the picture's file is missing.",
    "too_many_px": "The picture claims more pixels than the limit; it was not decoded.",
    "decode_failed": "The picture's file is damaged.",
    "image_small_bytes": "The picture's file is too small to show anything.",
    "hash_listed": "The picture is on a list of pictures that must not be kept; no copy of it was made.",
    "erased": "The picture was erased at somebody's request; its place is kept so that all counts stay true.",
    # pictures
    "embed_nonfinite": "The model gave no usable vector for the picture or its text.",
    "clip_missing": "Picture and text have no cosine.",
    "clip_low": "Picture and text do not agree: their cosine is below the threshold.",
    "size_missing": "The picture's size is not known.",
    "size_small": "The original's shorter side is below the limit.",
    "aspect_extreme": "The original is longer and thinner than the limit.",
    "duplicate_of": "The picture is a copy of another one; the best of the group stays.",
    "semantic_near": "The picture means nearly the same as a kept one: their embeddings are nearer than was asked for.",
    "nsfw": "The picture is probably not safe for work.",
    "watermark": "The picture probably carries a watermark.",
    "aesthetic_low": "The picture's aesthetic score is below the limit.",
    "vectorart": "The picture is simple vector art, the kind that models learn by heart.",
}  # fmt: skip

_ENDINGS = {
    "_missing": "The filter “{}” had nothing to judge, and what cannot be judged is not kept.",
    "_nonfinite": "The filter “{}” gave no usable number.",
    "_high": "The filter “{}” scored above its limit.",
    "_low": "The filter “{}” scored below its limit.",
}


def meaning(reason: str) -> str:
    """Return a sentence that says why a row with this reason is not in the data set."""
    known = MEANINGS.get(reason)
    if known is not None:
        return known
    for ending, sentence in _ENDINGS.items():
        if reason.endswith(ending):
            return sentence.format(reason.removesuffix(ending))
    return f"Left out by the filter “{reason}”."
