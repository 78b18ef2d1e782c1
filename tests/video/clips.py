"""The clips on which decoding is proved: every codec and container that can be written here."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np


def x264(gop: int, b_frames: int, **more: str) -> dict[str, str]:
    """Options of libx264 for exact groups."""
    params = f"keyint={gop}:min-keyint={gop}:scenecut=0:bframes={b_frames}"
    params += "".join(f":{key.replace('_', '-')}={value}" for key, value in more.items())
    return {"x264-params": params, "preset": "fast", "crf": "20"}


X265 = {"preset": "ultrafast"}
_rng = np.random.default_rng(0)

CLIPS: dict[str, dict[str, Any]] = {
    **{f"b{b}-gop{gop}.mp4": {"options": x264(gop, b)} for b in (0, 2, 3) for gop in (12, 60, 250)},
    "open-gop.mp4": {"options": x264(30, 3, open_gop="1")},
    "open-gop.mkv": {"options": x264(30, 3, open_gop="1")},
    "open-gop.ts": {"options": x264(30, 3, open_gop="1")},
    "intra-refresh.mp4": {"options": x264(30, 0, intra_refresh="1")},
    "variable-rate.mp4": {
        "options": x264(60, 3),
        "pts": np.cumsum(_rng.integers(1, 9, 280)).tolist(),
        "time_base": Fraction(1, 100),
    },
    "starts-late.mp4": {"options": x264(60, 3), "shift": 40, "audio": True},
    "edit-list.mp4": {"options": x264(60, 3), "shift": -30},
    "no-index.ts": {"options": x264(60, 3)},
    "fragments.mp4": {
        "options": x264(60, 3),
        "container_options": {"movflags": "frag_keyframe+empty_moov"},
    },
    "ten-bit.mp4": {"options": x264(60, 3), "pix_fmt": "yuv420p10le"},
    "b3.mov": {"options": x264(60, 3)},
    "b3.mkv": {"options": x264(60, 3)},
    "b3.avi": {"options": x264(60, 3)},
    "sound.mp4": {"options": x264(60, 2), "audio": True},
    "hevc.mp4": {
        "codec": "libx265",
        "options": X265 | {"x265-params": "keyint=40:bframes=3:log-level=error"},
    },
    "hevc-layers.mp4": {
        "codec": "libx265",
        "options": X265 | {"x265-params": "keyint=40:temporal-layers=2:log-level=error"},
    },
    "hevc-ten-bit.mkv": {
        "codec": "libx265",
        "pix_fmt": "yuv420p10le",
        "options": X265 | {"x265-params": "keyint=40:log-level=error"},
    },
    "hevc.ts": {
        "codec": "libx265",
        "options": X265 | {"x265-params": "keyint=40:open-gop=1:log-level=error"},
    },
    "vp9.webm": {
        "codec": "libvpx-vp9",
        "options": {"g": "60", "deadline": "realtime", "cpu-used": "8", "lag-in-frames": "16"},
    },
    "vp8.webm": {
        "codec": "libvpx",
        "options": {"g": "60", "deadline": "good", "cpu-used": "5", "auto-alt-ref": "1"},
    },
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"g": "30", "bf": "2", "qscale": "3"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"g": "30", "bf": "2", "qscale": "3"}},
    "mpeg4-plain.avi": {"codec": "mpeg4", "options": {"g": "30"}},
    "mpeg2.ts": {"codec": "mpeg2video", "options": {"g": "15", "bf": "2"}},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "animation.gif": {"codec": "gif", "pix_fmt": "rgb8"},
}
COUNT = 280
