import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.html import Page, fold, pair_reason, read_page
from pipeline.sightings import ReadOptions

URL = "http://h.example/dir/page.html"


def read(
    html: str | bytes, *, text_from: tuple[str, ...] = ("alt",), charset: str | None = None, **headers: str
) -> Page:
    pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return read_page(html, URL, charset=charset, header_pairs=pairs, options=ReadOptions(text_from=text_from))


def test_every_img_is_seen_in_order_with_or_without_text() -> None:
    page = read(
        '<p><img src=a.png alt="First one"><img src="/b.png"><img alt=x><IMG SRC="//o.example/c.png" ALT="  Three\n four ">'
    )
    assert [(i.url, i.text, i.reason) for i in page.images] == [
        ("http://h.example/dir/a.png", "First one", None),
        ("http://h.example/b.png", "", "text_empty"),
        (None, "x", "url_invalid"),
        ("http://o.example/c.png", "Three four", None),
    ]


@pytest.mark.parametrize(
    ("tag", "url"),
    [
        ('<img src="data:image/gif;base64,R0" data-src="real.jpg">', "real.jpg"),
        ('<img data-original="real.jpg">', "real.jpg"),
        ('<img src="/img/blank.gif" data-lazy-src=" real.jpg ">', "real.jpg"),
        ('<img src="real.jpg" data-src="other.jpg">', "real.jpg"),
        ('<img src="s.jpg" srcset="m.jpg 640w, l.jpg 1280w, s.jpg 320w">', "l.jpg"),
        ('<img src="s.jpg" srcset="m.jpg 1.5x, l.jpg 2x">', "l.jpg"),
        ('<img src="s.jpg" srcset="same.jpg">', "s.jpg"),
        ('<img srcset="only.jpg">', "only.jpg"),
        ('<img src="data:," data-srcset="a.jpg 100w, b.jpg 200w">', "b.jpg"),
        ('<picture><source srcset="w.webp 900w"><img src="s.jpg"></picture>', "w.webp"),
        ('<picture><source srcset="w.webp"><img src="s.jpg"></picture>', "s.jpg"),
        ('<picture><source srcset="w.webp 900w"><img src="s.jpg" srcset="m.jpg 500w"></picture>', "m.jpg"),
    ],
)
def test_the_best_rendition_of_a_picture_is_chosen(tag: str, url: str) -> None:
    assert [image.url for image in read(tag).images] == ["http://h.example/dir/" + url]


def test_a_data_url_alone_is_an_unsupported_scheme() -> None:
    page = read('<img src="data:image/png;base64,AAAA" alt="A picture"><img src="ftp://h.example/a.png" alt="b">')
    assert [image.reason for image in page.images] == ["scheme_unsupported", "scheme_unsupported"]
    assert pair_reason("http://[bad/", None, "x") == "url_invalid"


def test_the_first_base_with_a_href_counts() -> None:
    page = read('<base target=_top><base href="/root/"><base href="/other/"><img src=a.png alt=x>')
    assert (page.base, page.images[0].url) == ("http://h.example/root/", "http://h.example/root/a.png")


def test_texts_come_from_alt_title_or_figcaption_in_the_order_asked_for() -> None:
    html = '<figure><a><img src=a alt="" title="A title"></a><figcaption>Some <b>bold</b>\n words</figcaption></figure>'
    said = [
        read(html, text_from=order).images[0]
        for order in (("alt",), ("alt", "title", "figcaption"), ("figcaption", "alt"))
    ]
    assert [(i.text, i.text_from) for i in said] == [
        ("", "alt"),
        ("A title", "title"),
        ("Some bold words", "figcaption"),
    ]


@pytest.mark.parametrize(
    ("html", "headers", "lang"),
    [
        ("<html lang=de-CH>", {}, "de-CH"),
        ('<html xml:lang="ja">', {}, "ja"),
        ('<html><meta http-equiv="Content-Language" content="fr, en">', {}, "fr"),
        ("<html>", {"Content_Language": "pt_BR"}, "pt-BR"),
        ('<html lang="{{lang}}">', {}, None),
    ],
)
def test_the_declared_language_is_kept(html: str, headers: dict[str, str], lang: str | None) -> None:
    assert read(html + "<img src=a>", text_from=("alt",), charset=None, **headers).lang == lang


@pytest.mark.parametrize(
    ("html", "license_url"),
    [
        ('<a rel="nofollow License" href="/terms">', "http://h.example/terms"),
        ('<a href="https://creativecommons.org/licenses/by/4.0/">', "https://creativecommons.org/licenses/by/4.0/"),
        (
            '<a href="http://creativecommons.org/publicdomain/zero/1.0/"><link rel=license href=l>',
            "http://h.example/dir/l",
        ),
        ('<a href="https://creativecommons.org/about/">licences</a>', None),
    ],
)
def test_a_licence_is_found_by_rel_or_by_creative_commons(html: str, license_url: str | None) -> None:
    assert read(html + "<img src=a>").license == license_url


def test_a_licence_in_the_link_header_counts() -> None:
    assert read("<img src=a>", Link='</l>; rel="license"').license == "http://h.example/l"


def test_metas_for_crawlers_and_tdm_are_collected_anywhere() -> None:
    page = read(
        '<meta name=Robots content="noai"><meta name=tamis content=noindex><meta name=description content=noai>'
        '<body><img src=a><meta name="TDM-Reservation" content=1><meta name=tdm-policy content=/p>'
    )
    assert page.meta_robots == [("Robots", "noai"), ("tamis", "noindex")]
    assert (page.tdm_reservation, page.tdm_policy) == ("1", "/p")


def test_a_page_without_pictures_is_empty() -> None:
    assert read("<html lang=en><p>imgs</p>") == Page(base=URL)


@pytest.mark.parametrize(
    ("codec", "charset", "head"),
    [
        ("utf-8", None, ""),
        ("utf-8-sig", "iso-8859-1", ""),
        ("utf-16", None, ""),
        ("shift_jis", "x-sjis", ""),
        ("euc_jp", None, '<meta charset="euc-jp">'),
        ("cp932", None, '<meta http-equiv=Content-Type content="text/html; charset=Shift_JIS">'),
        ("euc_jp", None, '<?xml version="1.0" encoding="EUC-JP"?>'),
        ("utf-8", "no-such-charset", ""),
    ],
)
def test_the_charset_is_found(codec: str, charset: str | None, head: str) -> None:
    text = "画像を選択するダイアログ"
    html = f'{head}<img src=a.png alt="{text}"><p>{text}が表示されます。レイヤーの境界をキャンバスに合わせる</p>'
    assert read(html.encode(codec), charset=charset).images[0].text == text


def test_a_page_that_declares_nothing_is_read_by_detection() -> None:
    text = "Изображение красной лодки на берегу реки"
    html = f'<img src=a.png alt="{text}"><p>{text}. Это длинный русский текст о городе и реке.</p>' * 3
    assert read(html.encode("cp1251")).images[0].text == text


@pytest.mark.parametrize(
    "html",
    [
        b"<div>" * 400_000,
        b"<div></b>" * 200_000,
        b"".join(b"<p><font id=%d>" % i for i in range(100_000)),
        b"<img " + b" ".join(b"a%d=b" % i for i in range(60_000)) + b">",
    ],
    ids=["nested", "nested behind wrong end tags", "formatting reopened everywhere", "attributes"],
)
@pytest.mark.timeout(60)  # minutes to hours without the guard
def test_a_page_made_to_cost_quadratic_time_is_read_all_the_same(html: bytes) -> None:
    page = read(html + b'<img src=/a.png alt="A red boat">')
    assert page.images[-1].text == "A red boat"


def test_texts_are_nfc_and_folded_without_nul_or_lone_surrogates() -> None:
    assert fold(" e\u0301te\u0301\u00a0 \n\u3000au\ud800 \0 bord ") == "été au\ufffd bord"


@given(st.text(alphabet="<>/=\"' imgaltsrcdvbpu&#;x!-\0é\ud800", max_size=80))
@settings(max_examples=300, deadline=None)
def test_no_page_raises(html: str) -> None:
    read(html, text_from=("alt", "title", "figcaption"))
    read(html.encode("utf-8", "replace") + b"\xff", text_from=("figcaption",))


@given(st.text(max_size=40))
def test_folding_is_idempotent(text: str) -> None:
    assert fold(fold(text)) == fold(text)
