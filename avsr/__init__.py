"""avsr: audio-visual speech enhancement and recognition, from raw video to the table of a paper."""

__version__ = "0.1.0"
