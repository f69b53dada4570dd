"""What a recogniser sees in stage 9, where its front-end may lie inside its checkpoint (avsr.training.light)."""

from pathlib import Path
from typing import Any

import numpy as np

from avsr.storage.arrays import Store
from avsr.storage.lip_features import features_store


class OwnLips:
    """Lip features of a split by the front-end that lies inside a checkpoint, made from the crops when asked for."""

    def __init__(self, crops: Store, front: Any, device: str):
        self._crops, self._front, self._device = crops, front, device

    def __contains__(self, utt: str) -> bool:
        return utt in self._crops

    def read(self, utt: str) -> np.ndarray:
        """(T, D) float32."""
        import torch

        with torch.inference_mode():
            crops_bthw = torch.from_numpy(self._crops.read(utt))[None].to(self._device)
            return self._front(crops_bthw)[0].float().cpu().numpy()


def lips_of(work_dir: Path, content: dict[str, Any], checkpoint: Path, device: str) -> Store | OwnLips:
    """What a recogniser sees of the test split: the features of stage 5, or those of a front-end of its own."""
    from avsr.training import light

    front = light.inside(content, checkpoint, device)
    if front is None:
        return features_store(work_dir, "test")
    return OwnLips(Store(work_dir / "dump" / "video" / "test" / "crop112", "stage 2 (crop)"), front, device)
