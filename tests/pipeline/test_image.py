"""Every awkward picture ends as the right pixels or in the right reason."""

import threading
from typing import Any

import cv2
import numpy as np
import pytest
import simplejpeg

from pipeline import image, resize, sniff
from pipeline.image import Decoded, PixelGate, Refusal, Shape
from tests import pictures


def decoded(data: bytes, **shape: Any) -> Decoded:
    """Decode what has to be decodable."""
    got = image.decode(data, Shape(**shape))
    assert isinstance(got, Decoded), got
    return got


def colours(got: Decoded) -> tuple[list[int], list[int]]:
    """Return the mean colours of the upper and lower quarters."""
    height = got.pixels.shape[0]
    upper, lower = got.pixels[: height // 4], got.pixels[-(height // 4) :]
    return [round(float(c)) for c in upper.mean((0, 1))], [round(float(c)) for c in lower.mean((0, 1))]


def assert_scene(got: Decoded, tolerance: int = 12) -> None:
    """Check that red is above blue."""
    upper, lower = colours(got)
    assert np.abs(np.array(upper) - pictures.RED).max() <= tolerance
    assert np.abs(np.array(lower) - pictures.BLUE).max() <= tolerance


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "BMP", "TIFF"])
def test_each_format_gives_the_same_scene(kind: str) -> None:
    got = decoded(pictures.saved(pictures.scene(), kind))
    assert_scene(got)
    assert (got.format, got.frames) == (kind.lower(), 1)
    assert (got.original_width_px, got.original_height_px) == (400, 300)
    assert got.pixels.shape == (256, 341, 3)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_taken_and_all_are_counted(kind: str) -> None:
    got = decoded(pictures.animated(kind, frames=5))
    assert_scene(got, tolerance=20)
    assert got.frames == 5


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    got = decoded(pictures.turned_jpeg(orientation))
    assert_scene(got)
    assert (got.original_width_px, got.original_height_px) == (400, 300)
    assert got.pixels.shape == (256, 341, 3)


def test_four_inks_become_three_lights() -> None:
    assert_scene(decoded(pictures.saved(pictures.cmyk(), "JPEG", quality=95)), tolerance=25)


def test_transparency_is_put_on_white() -> None:
    upper, lower = colours(decoded(pictures.clear_png()))
    assert upper == list(pictures.RED)
    assert lower == [255, 255, 255]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_are_scaled_and_not_cut_to_white(channels: int) -> None:
    upper, lower = colours(decoded(pictures.deep_png(channels)))
    assert (upper, lower) == ([64] * 3, [192] * 3)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not_image"),
        (b"hello", "not_image"),
        (pictures.SVG, "svg_unsupported"),
        (b"\xef\xbb\xbf  <svg xmlns='http://www.w3.org/2000/svg'/>", "svg_unsupported"),
        (pictures.HTML, "html_not_image"),
        ("<html>".encode("utf-16"), "html_not_image"),
        (pictures.jpeg()[:-1000], "truncated"),
        (pictures.jpeg()[:100], "truncated"),
        (pictures.saved(pictures.scene(), "JPEG", progressive=True)[:-3000], "truncated"),
        (pictures.saved(pictures.scene(), "PNG")[:-9000], "truncated"),
        (pictures.saved(pictures.scene(), "GIF")[:-900], "truncated"),
        (pictures.saved(pictures.scene(), "WEBP")[:-200], "truncated"),
        (pictures.saved(pictures.scene(), "AVIF")[:-200], "truncated"),
        (pictures.flat_png(10_000), "too_many_px"),
        (pictures.flat_png(30_000), "too_many_px"),
        (pictures.flat_png(49_000_000, 1), "too_many_px"),
        (pictures.flat_png(1, 65_501), "too_many_px"),
        (pictures.scan_bomb(), "decode_failed"),
        (b"\0\0\0\x1cftypheic" + bytes(100), "not_image"),
    ],
)
def test_what_is_no_picture_says_why(data: bytes, reason: str) -> None:
    got = image.decode(data, Shape())
    assert isinstance(got, Refusal)
    assert got.reason == reason
    assert " at 0x" not in got.detail  # the same in every run


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "AVIF", "BMP", "TIFF"])
def test_the_pixel_limit_holds_for_every_format(kind: str) -> None:
    data = pictures.saved(pictures.scene(100, 100), kind)
    assert isinstance(image.decode(data, Shape(max_px=10_000)), Decoded)
    refused = image.decode(data, Shape(max_px=9_999))
    assert isinstance(refused, Refusal)
    assert refused.reason == "too_many_px"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "AVIF", "BMP", "TIFF"])
def test_damaged_bytes_never_raise(kind: str) -> None:
    data = bytearray(pictures.saved(pictures.scene(80, 60), kind))
    rng = np.random.default_rng(7)
    reasons = set()
    for _ in range(150):
        broken = bytearray(data)
        for at in rng.integers(0, len(data), 8):
            broken[at] = int(rng.integers(0, 256))
        got = image.decode(bytes(broken), Shape(max_px=1_000_000))
        reasons.add(got.reason if isinstance(got, Refusal) else "kept")
    assert reasons <= {"kept", "truncated", "decode_failed", "too_many_px", "not_image"}


@pytest.mark.parametrize(
    ("mode", "upscale", "expected"),
    [
        ("keep_ratio", False, (200, 100)),
        ("keep_ratio_largest", False, (100, 50)),
        ("center_crop", False, (100, 100)),
        ("border", False, (100, 100)),
        ("no", False, (400, 200)),
    ],
)
def test_resize_modes_mean_what_img2dataset_means(mode: Any, upscale: bool, expected: tuple[int, int]) -> None:
    got = decoded(pictures.jpeg(400, 200), size_px=100, mode=mode, upscale=upscale)
    assert got.pixels.shape == (expected[1], expected[0], 3)


@pytest.mark.parametrize(
    ("mode", "small", "enlarged"),
    [
        ("keep_ratio", (40, 20), (200, 100)),
        ("keep_ratio_largest", (40, 20), (100, 50)),
        ("center_crop", (40, 20), (100, 100)),
        ("border", (100, 100), (100, 100)),
        ("no", (40, 20), (40, 20)),
    ],
)
def test_small_pictures_are_enlarged_only_when_asked(
    mode: Any, small: tuple[int, int], enlarged: tuple[int, int]
) -> None:
    data = pictures.saved(pictures.scene(40, 20), "PNG")
    assert decoded(data, size_px=100, mode=mode).pixels.shape == (small[1], small[0], 3)
    assert decoded(data, size_px=100, mode=mode, upscale=True).pixels.shape == (enlarged[1], enlarged[0], 3)


def test_a_border_is_white_and_the_view_for_hashes_has_none() -> None:
    got = decoded(pictures.jpeg(400, 200), size_px=100, mode="border")
    assert got.pixels[:20].min() == 255
    assert got.view.shape == (50, 100, 3)


def test_the_view_for_hashes_stays_large_when_little_is_stored() -> None:
    got = decoded(pictures.jpeg(800, 600), size_px=32, view_min_px=192)
    assert got.pixels.shape == (32, 43, 3)
    assert got.view.shape == (192, 256, 3)


@pytest.mark.parametrize("size", [(800, 600), (801, 601), (1333, 999), (2000, 1500), (523, 3001)])
def test_scaled_decoding_shows_the_same_as_full_decoding(size: tuple[int, int]) -> None:
    width, height = size
    smooth = cv2.GaussianBlur(pictures.scene(width, height), (0, 0), height / 25)
    data = bytes(simplejpeg.encode_jpeg(np.asarray(smooth, np.uint8), 92, colorsubsampling="420"))
    target = resize.target_size(width, height, size_px=200, mode="keep_ratio", upscale=False)
    assert resize.jpeg_eighths(width, height, target) < 8
    full = resize.resample(np.asarray(simplejpeg.decode_jpeg(data), np.uint8), target)
    error = np.abs(decoded(data, size_px=200).pixels.astype(int) - full)
    assert error.mean() < 1.0
    assert error.max() <= 8  # no shift at edges, whatever the size's remainder


@pytest.mark.parametrize("extension", ["jpg", "png", "webp"])
def test_what_is_encoded_decodes_to_the_same(extension: Any) -> None:
    pixels = pictures.scene(123, 77)
    data = image.encode(pixels, extension, quality=95)
    again = decoded(data, mode="no")
    assert sniff.kind(data) == {"jpg": "jpeg"}.get(extension, extension)
    assert again.pixels.shape == pixels.shape
    limit = 0 if extension == "png" else 8
    assert np.abs(again.pixels.astype(int) - pixels).mean() <= limit


def test_metadata_is_not_carried_into_the_stored_picture() -> None:
    stored = image.encode(decoded(pictures.turned_jpeg(6)).pixels)
    assert b"Exif" not in stored


def test_a_gif_that_claims_endless_blocks_is_counted_in_bounded_steps() -> None:
    head = b"GIF89a\x10\0\x10\0\0\0\0"
    assert sniff.gif_frames(head + b"!\xf9" + b"\x01\0" * 3_000_000) == 1


def test_the_gate_lets_no_more_pixels_through_than_it_may() -> None:
    gate, inside, most = PixelGate(100), [0], [0]
    lock = threading.Lock()

    def work(px: int) -> None:
        with gate.hold(px):
            with lock:
                inside[0] += px
                most[0] = max(most[0], inside[0])
            threading.Event().wait(0.002)
            with lock:
                inside[0] -= px

    threads = [threading.Thread(target=work, args=(px,)) for px in (60, 60, 30, 40, 500, 10) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert inside == [0]
    assert most[0] == 500  # the one too large for the gate passed, alone
