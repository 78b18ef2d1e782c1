"""Video in, frames out: probing, exact sparse decoding, image coding. No torch in here."""

from vidsampler.video.decode import DecodedFrame
from vidsampler.video.reader import Video, VideoInfo, probe

__all__ = ["DecodedFrame", "Video", "VideoInfo", "probe"]
