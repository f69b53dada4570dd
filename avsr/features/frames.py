"""How long an utterance is: T pictures at 25 a second go with exactly 640 T samples at 16 kHz.

The sound is cut or zero-padded at its end before anything is mixed into it, so that every system
hears the same mixtures. One picture lasts as long as one STFT window (MHCA-AVCRN section 3.1: Hann
window of 640 samples, hop 160), so a picture goes with four sound frames (AE-MSR section 4.1).
"""

import numpy as np

from avsr.errors import UtteranceError

SAMPLE_RATE = 16_000
VIDEO_RATE = 25
SAMPLES_PER_PICTURE = SAMPLE_RATE // VIDEO_RATE
FRAMES_PER_PICTURE = 4
MAX_APART = SAMPLE_RATE // 5  # 0.2 s


def fit_length(wave_n: np.ndarray, pictures: int) -> np.ndarray:
    """Cut or zero-pad a 16 kHz wave at its end to `640 * pictures` samples.

    Raises UtteranceError when there is no picture, or sound and picture are more than 0.2 s apart.
    """
    if pictures < 1:
        raise UtteranceError("the video holds no picture")
    wanted = SAMPLES_PER_PICTURE * pictures
    apart = len(wave_n) - wanted
    if abs(apart) > MAX_APART:
        longer = "longer" if apart > 0 else "shorter"
        raise UtteranceError(
            f"the sound lasts {len(wave_n) / SAMPLE_RATE:.3f} s and is {abs(apart) / SAMPLE_RATE:.3f} s {longer} than "
            f"its {pictures} pictures (at most {MAX_APART / SAMPLE_RATE} s is mended; cut both to the same length)"
        )
    if apart >= 0:
        return wave_n[:wanted]
    return np.pad(wave_n, (0, -apart))
