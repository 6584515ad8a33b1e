"""Keep texts that can describe a picture: long enough, not a page of prose, not a file's name, not a mere label."""

import re
import unicodedata

import numpy as np
import pyarrow as pa

from filters.base import Filter, first_reason, numbers

# Han, kana, Hangul, Bopomofo and their compatibility blocks: scripts written without spaces between words,
# or (Hangul) whose spaced units are longer than a word
_CJK = re.compile(
    "[\u1100-\u11ff\u3005-\u3007\u3021-\u3029\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u3131-\u318e"
    "\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\uff66-\uff9d\U00020000-\U000323af]"
)
_WORD = re.compile(r"[^\W_]")
_EXTENSION = r"\.(?:jpe?g|jpe|jfif|png|gif|webp|avif|heic|heif|bmp|tiff?|svgz?|ico|psd|xcf|raw|cr2|nef|dng|pdf|mp4|mov)"
_FILENAME = re.compile(rf"(?:[^\s?#]*[\\/])?\S[^\n]{{0,200}}{_EXTENSION}(?:[?#]\S*)?", re.IGNORECASE)
# what cameras, phones and content systems write when nobody names the picture
_CAMERA = re.compile(
    r"(?:img|image|dsc[fn]?|dscn|pict?|p|photo|picture|screen[ _-]?shot|screenshot|scan|pxl|mvimg|gopr|dji|cimg|sam|hpim|"
    r"imgp|whatsapp image|unbenannt|untitled|vlcsnap|capture|bild|foto)"
    r"[\s_.\-(]*\d[\d\s_.\-():atpmx]*",
    re.IGNORECASE,
)
_HASHLIKE = re.compile(
    r"(?=\S*\d)[0-9a-f]{12,}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[\d\s_.\-x×]+", re.IGNORECASE
)
# one unspaced token joined by separators with digits in it, as in "header_bg-02_1200x630"
_SLUG = re.compile(r"(?=\S*\d)[^\W_]+(?:[_\-][^\W_]+)*_[^\W_]+(?:[_\-][^\W_]+)*", re.IGNORECASE)
_LABELS = frozenset(
    {
        "image", "images", "img", "picture", "pictures", "photo", "photos", "photograph", "photography", "pic",
        "thumbnail", "thumb", "icon", "icons", "logo", "banner", "header", "avatar", "cover", "graphic", "figure",
        "screenshot", "illustration", "diagram", "gallery", "slide", "slideshow", "untitled", "placeholder",
        "spacer", "blank", "none", "null", "undefined", "n/a", "alt", "empty", "loading", "advertisement", "ad",
        "ads", "sponsored", "share", "tweet", "pin", "email", "print", "download", "next", "previous", "back",
        "home", "menu", "close", "search", "play", "more", "top", "bild", "foto", "imagen", "imagem", "immagine",
        "afbeelding", "obrázek", "изображение", "картинка", "фото", "画像", "写真", "图片", "圖片", "이미지", "사진",
    }
)  # fmt: skip
_LABEL_PHRASES = frozenset(
    {
        "click here", "click to enlarge", "click for larger image", "click image to enlarge", "read more",
        "learn more", "image may contain", "no image", "no image available", "image not available",
        "image not found", "no photo", "no description", "no description available",
        "no alt text provided for this image", "alt text", "image description", "profile picture", "profile photo",
        "featured image", "post image", "product image", "article image", "main image", "default image",
        "image result", "photo of", "picture of", "image of", "powered by", "all rights reserved",
    }
)  # fmt: skip
_FILL = frozenset({"the", "a", "an", "this", "our", "your", "of", "no", "number", "here"})


def word_count(text: str) -> int:
    """Count the space-separated tokens that hold a letter or digit."""
    return sum(1 for token in text.split() if _WORD.search(token))


def cjk_count(text: str) -> int:
    """Count characters of Chinese, Japanese and Korean scripts."""
    return len(_CJK.findall(text))


def is_filename(text: str) -> bool:
    """Tell captions that are a file's name, a camera's number or a hash."""
    text = text.strip().strip("\"'")
    patterns = (_CAMERA, _HASHLIKE, _SLUG)
    if not text:
        return False
    if _FILENAME.fullmatch(text):
        # "a sentence about photo.jpg" is prose; a name of a file has few spaces
        return text.count(" ") <= 5
    return any(pattern.fullmatch(text) for pattern in patterns)


def is_uninformative(text: str) -> bool:
    """Tell texts that name no content: "image 3", "click to enlarge", only signs and digits."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    tokens = [token for token in re.split(r"[\s\W_]+", plain) if token]
    if " ".join(tokens) in _LABEL_PHRASES or plain.strip(" .:!?") in _LABELS:
        return True
    left = [token for token in tokens if not token.isnumeric()]
    return not left or all(token in _LABELS or token in _FILL for token in left)


def _kind(text: str) -> str | None:
    if is_filename(text):
        return "filename"
    return "uninformative" if is_uninformative(text) else None


def _measure(table: pa.Table) -> pa.Table:
    texts = table["text"].to_pylist()
    return pa.table(
        {
            "text_words": pa.array([None if t is None else word_count(t) for t in texts], type=pa.int32()),
            "text_chars": pa.array([None if t is None else len(t) for t in texts], type=pa.int32()),
            "text_cjk": pa.array([None if t is None else cjk_count(t) for t in texts], type=pa.int32()),
            "text_kind": pa.array([None if t is None else _kind(t) for t in texts], type=pa.string()),
        }
    )


def text(
    *, min_words: int = 3, min_chars: int = 5, min_cjk: int = 5, max_words: int = 256, max_chars: int = 1000
) -> Filter:
    """Drop texts by length and kind; enough CJK characters stand in for words, which those scripts do not space."""

    def decide(table: pa.Table) -> pa.Array:
        words, chars, cjk = (numbers(table, f"text_{unit}") for unit in ("words", "chars", "cjk"))
        kind = np.asarray(table["text_kind"].to_pylist(), dtype=object)
        short = ~(((words >= min_words) & (chars >= min_chars)) | (cjk >= min_cjk))
        cases = [
            (np.isnan(chars), "text_missing"),
            (kind == "filename", "text_filename"),
            (kind == "uninformative", "text_uninformative"),
            (short, "text_short"),
            ((words > max_words) | (chars > max_chars), "text_long"),
        ]
        return first_reason(len(table), cases)

    reasons = ("text_missing", "text_filename", "text_uninformative", "text_short", "text_long")
    return Filter("text", ("text",), reasons, _measure, decide)
