"""Keys."""

from __future__ import annotations

import hashlib

import pytest

from vidsampler.shards.key import KEY, make_key


def digits(path: str, length: int = 8) -> str:
    return hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:length]


def test_a_good_name_is_its_own_key() -> None:
    assert make_key("video7010.mp4") == "video7010"
    assert make_key("v_-1IBHYS3L-Y.mkv") == "v_-1IBHYS3L-Y"


@pytest.mark.parametrize(
    ("path", "cleaned"),
    [
        ("a b.mp4", "a_b"),
        ("movie/clip.avi", "movie_clip"),
        ("a.b.c.mp4", "a_b_c"),
        ("größe.mp4", "groe"),
        ("é.mp4", "e"),
        ("x@y'\"z.mp4", "x_y_z"),
        ("视频.mp4", "video"),
        ("\udcff.mp4", "video"),
        (".mp4", "mp4"),
        ("v1.5", "v1_5"),
        ("l" * 200 + ".mp4", "l" * 71),
    ],
)
def test_others_are_cleaned_and_marked(path: str, cleaned: str) -> None:
    assert make_key(path) == f"{cleaned}-{digits(path)}"
    assert KEY.fullmatch(make_key(path))


def test_the_key_depends_on_nothing_but_the_path_unless_it_is_taken() -> None:
    assert make_key("a b.mp4") != make_key("a_b.mp4") == "a_b"
    assert make_key("clip.mkv", {"clip"}) == f"clip-{digits('clip.mkv')}"
    taken = {"clip", f"clip-{digits('clip.mkv')}"}
    assert make_key("clip.mkv", taken) == f"clip-{digits('clip.mkv', 9)}"


def test_two_samples_of_one_name_are_refused() -> None:
    class Everything(set[str]):
        def __contains__(self, key: object) -> bool:
            return True

    with pytest.raises(ValueError, match="two samples"):
        make_key("a.mp4", Everything())
