"""What stage 9 measures: one system on one test set, in a process of its own, into scores.tsv and what lies beside."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avsr.config import build
from avsr.errors import AvsrError, UtteranceError
from avsr.features.inversion import reconstruct
from avsr.features.mel import STFT, mel
from avsr.noise.lists import read_list
from avsr.noise.sampler import ListMixer
from avsr.scoring.confusions import FILE as WORDS_FILE
from avsr.scoring.confusions import write_words
from avsr.scoring.energy import score_bins, score_magnitudes
from avsr.scoring.results import NO_OTHER, Provenance, write_scores
from avsr.scoring.seams import FILE as SEAMS_FILE
from avsr.scoring.seams import POSITIONS, score_seams, write_seams
from avsr.scoring.shuffled import partners
from avsr.scoring.speech import METRICS, have_pesq, score_utterance
from avsr.scoring.words import score_label, score_transcripts, write_trn
from avsr.stages.gather import MEASURED
from avsr.stages.own_lips import OwnLips, lips_of
from avsr.stages.shards import failed_row, write_failed
from avsr.storage.arrays import Store
from avsr.storage.atomic import write_text
from avsr.storage.datadir import HELDOUT, read_datadir, recording
from avsr.storage.markers import digest, is_done, mark
from avsr.training.conf import TrainConf, phase_options
from avsr.training.tasks.enhance import video_store

BATCH = 16  # utterances decoded side by side; no influence on the result
UNSEEN = "no pictures of this utterance"
WORDS = "words"  # the test set of a lip reader: single words


@dataclass(frozen=True)
class ScoreJob:
    """`row` is the id in the tables: a system's, `<id>+shuffled`, `<id>+<phase>` (the weights that an earlier phase of
    its training has kept), `<id>@<digest>`, or one without a system: `unprocessed`, `oracle`, `oracle_mask`."""

    row: str
    kind: str  # lipread, enhance, recognise, joint, or, of those without a system, the row
    seed: int
    test_set: str
    work_dir: Path
    checkpoint: Path | None
    provenance: Provenance
    recon: str = "gain"
    beam: int = 30
    length_penalty: float = 0.0
    data_digest: str = ""
    device: str = "cpu"  # where the network runs; scores are not made anew for another one

    @property
    def folder(self) -> Path:
        """Where its scores go."""
        return self.work_dir / "exp" / self.row / f"seed{self.seed}" / self.test_set

    @property
    def scores(self) -> Path:
        """Its file of scores."""
        return self.folder / "scores.tsv"

    @property
    def speed(self) -> Path:
        """What is said of a recogniser's speed; of the machine and not of the result, so it lies with the logs."""
        return self.folder / "log" / "decoding.txt"

    @property
    def split(self) -> str:
        """Whose utterances are scored."""
        return split_and_list(self.test_set)[0]

    @property
    def in_babble(self) -> bool:
        """Whether energy errors are measured here, not the quality of waveforms."""
        return split_and_list(self.test_set)[1].startswith("babble")

    @property
    def system(self) -> str:
        """The id of the system whose checkpoint it is."""
        return re.split("[+@]", self.row)[0]

    def key(self, pesq: bool) -> list:
        """What the scores depend on. `pesq`: whether the package is there; put in later, it fills its cells."""
        how = [self.recon, self.beam, pesq]
        if self.kind in ("recognise", "joint"):
            how.append(self.length_penalty)
        made_from = [self.provenance.checkpoint_digest, self.data_digest, *how]
        version = "words 2" if self.kind == "lipread" else "scores 3"
        version = "shuffled 4" if self.row.endswith("+shuffled") else version
        return [version, self.row, self.kind, self.provenance.protocol, self.provenance.preset, made_from]

    def done(self, pesq: bool | None = None) -> bool:
        """Whether it was measured before; with or without PESQ as said, else as it would be now."""
        return is_done(self.folder / MEASURED, self.key(have_pesq() if pesq is None else pesq))


def run_job(job: ScoreJob) -> None:
    """Measures and writes."""
    import torch

    torch.set_num_threads(1)
    measure = {"lipread": _words, "recognise": _transcripts, "joint": _transcripts}.get(job.kind, _enhanced)
    failed: dict[str, Exception] = {}
    rows = measure(job, failed)
    rows |= {utt: {"reason": f"{type(error).__name__}: {error}"} for utt, error in failed.items()}
    write_scores(job.scores, rows, job.provenance)
    write_failed(job.folder, "score", [failed_row(utt, "score", error) for utt, error in sorted(failed.items())])
    files = [job.scores, job.folder / "failed.tsv", *([job.folder / WORDS_FILE] if job.kind == "lipread" else [])]
    seams = {utt: row[POSITIONS] for utt, row in rows.items() if POSITIONS in row}
    if seams:
        write_seams(job.folder / SEAMS_FILE, seams)
        files.append(job.folder / SEAMS_FILE)
    mark(job.folder / MEASURED, job.key(have_pesq()), files)


@contextmanager
def one_utterance(utt: str, failed: dict[str, Exception]) -> Iterator[None]:
    """The work on one utterance: its own faults are noted in `failed`, and the next one has its turn. A full disk, no
    memory, a missing package and signals end the stage."""
    try:
        yield
    except (AvsrError, ValueError, LookupError) as error:
        failed[utt] = error


def data_digest(work_dir: Path, test_set: str) -> str:
    """The digest of a noise list and of the test set's tables and stores: what has changed is scored anew."""
    split, _ = split_and_list(test_set)
    data, dump = work_dir / "data", work_dir / "dump"
    stores = [dump / "noise/store.json", *dump.glob(f"*/{split}/store.json"), *dump.glob(f"*/{split}/*/store.json")]
    paths = [list_path(work_dir, test_set), data / split / "text", data / split / "ctm", *sorted(stores)]
    return digest([path.read_text(encoding="utf-8") if path.exists() else "" for path in paths])


def decoding(conf: Any) -> str:
    """How texts are found, as printed beside every row of a recogniser."""
    return f"beam {conf.beam}" + (f", length penalty {conf.length_penalty:g}" if conf.length_penalty else "")


def tested_on(work_dir: Path, test_set: str, recon: str) -> str:
    """A digest of what a test set asks, the same on every machine: the noise list, transcripts, and `score.recon`.

    Gains, which are made from levels of speech and noise, count with five digits."""
    split, _ = split_and_list(test_set)
    path, tables = list_path(work_dir, test_set), [work_dir / "data" / split / name for name in ("text", "ctm")]
    rows = [asdict(row) | {"gain": f"{row.gain:.4e}"} for row in read_list(path).values()] if path.exists() else []
    return digest([test_set, recon, rows, [one.read_text(encoding="utf-8") if one.exists() else "" for one in tables]])


def split_and_list(test_set: str) -> tuple[str, str]:
    """The split and the noise list of a test set: `heldout_babble_0dB` is babble_0dB of heldout, `valid_train_like`
    train_like of valid, others are of test."""
    split = next((split for split in (HELDOUT, "valid") if test_set.startswith(f"{split}_")), "")
    return (split, test_set.removeprefix(f"{split}_")) if split else ("test", test_set)


def list_path(work_dir: Path, test_set: str) -> Path:
    """The noise list of a test set, which is there unless it has none (`words`)."""
    split, name = split_and_list(test_set)
    return work_dir / "data" / f"{split}_noisy" / f"{name}.jsonl"


def shown_lips(job: ScoreJob, utts: list[str]) -> dict[str, str]:
    """Whose lips are shown with each utterance: its own, or in the row `shuffled video` those of its partner."""
    if not job.row.endswith("+shuffled"):
        return dict(zip(utts, utts, strict=True))
    table = read_datadir(job.work_dir / "data" / job.split)
    speaker_of = {utt: row.speaker for utt, row in table.items()}
    return partners(utts, speaker_of, {utt: row.text for utt, row in table.items()})


def _mixer(job: ScoreJob) -> ListMixer:
    return ListMixer(list_path(job.work_dir, job.test_set), job.work_dir, job.split)


def _load(job: ScoreJob) -> Any:
    from avsr.training.checkpoint import load_model

    return load_model(job.checkpoint, job.device, job.system)[0]


def _on(device: str, batch: dict[str, Any]) -> dict[str, Any]:
    """The tensors of a batch on the device, the rest as it was."""
    return {name: value.to(device) if hasattr(value, "to") else value for name, value in batch.items()}


def _enhanced(job: ScoreJob, failed: dict[str, Exception]) -> dict[str, dict]:
    """Enhancement: quality and intelligibility of the waveform, energy error of the magnitudes."""
    mixer = _mixer(job)
    if job.row.endswith("+shuffled") and len({recording(utt) for utt in mixer.rows}) < 2:
        columns = ("energy_linear", "energy_sqrt") if job.in_babble else METRICS
        reason = "; ".join(f"{name}: {NO_OTHER}" for name in columns)
        return {utt: dict.fromkeys(columns, np.nan) | {"reason": reason} for utt in mixer.rows}
    estimator = make_estimator(job, sorted(mixer.rows))
    rows = {}
    for utt in sorted(mixer.rows):
        with one_utterance(utt, failed):
            rows[utt] = _enhanced_one(job, mixer, estimator, utt)
    return rows


def _enhanced_one(job: ScoreJob, mixer: ListMixer, estimator: tuple, utt: str) -> dict:
    estimate, mel_set, multiple, seen = estimator
    if not seen(utt):
        return {"reason": UNSEEN}
    noisy_n, clean_n = whole_frames(mixer, utt, multiple)
    noisy_tf, clean_tf = mel(noisy_n, mel_set), mel(clean_n, mel_set)
    if job.kind == "oracle":
        estimate_tf = clean_tf
    elif job.kind == "oracle_mask":
        estimate_tf = np.minimum(noisy_tf, clean_tf)  # noisy * min(clean / noisy, 1): in every cell the least error
    else:
        estimate_tf = estimate(utt, noisy_tf, len(noisy_n) // 640)
    if job.in_babble:
        if mel_set == STFT:
            return score_bins(estimate_tf, noisy_tf, clean_tf)
        return score_magnitudes(estimate_tf, clean_tf)
    wave_n = noisy_n if job.kind == "unprocessed" else reconstruct(noisy_n, estimate_tf, mel_set, job.recon)
    scores = score_utterance(clean_n, wave_n)
    if job.kind == "oracle" or np.isnan([scores[name] for name in METRICS]).all():  # the latter counts as not scored
        return scores
    return scores | score_seams(estimate_tf, clean_tf, mel_set)


def whole_frames(mixer: ListMixer, utt: str, multiple: int) -> tuple[np.ndarray, np.ndarray]:
    """(noisy, clean), each (640 T,), T cut to a multiple of `multiple`. UtteranceError: nothing is left."""
    noisy_n, clean_n = mixer.mixture(utt)
    frames = len(noisy_n) // 640
    frames -= frames % multiple
    if not frames:
        raise UtteranceError(f"{utt}: lasts less than {multiple} frames")
    return noisy_n[: 640 * frames], clean_n[: 640 * frames]


def make_estimator(job: ScoreJob, utts: list[str]) -> tuple[Callable, str, int, Callable]:
    """`estimate(utt, noisy_tf, frames)` of a job, its mel set, of how many frames lengths are a multiple, and
    `seen(utt)`: whether it has the pictures of an utterance."""
    if job.kind != "enhance":
        # energy errors are those of AE-MSR, in its mel set; all others are compared with the AVSE systems
        mel_set = "mel_htk" if job.in_babble else "mel_slaney"
        return lambda utt, noisy_tf, frames: noisy_tf, mel_set, 5, lambda utt: True
    import torch

    model = _load(job)
    if job.row.endswith("+audio"):
        model.output = "audio"
    store = video_store(job.work_dir, job.split, model.video_input) if model.video_input else None
    shown = shown_lips(job, [utt for utt in utts if store is None or utt in store])

    def estimate(utt: str, noisy_tf: np.ndarray, frames: int) -> np.ndarray:
        video = None
        if store is not None:
            seen = store.read(shown[utt])
            seen = seen[np.minimum(np.arange(frames), len(seen) - 1)]
            video = torch.from_numpy(np.ascontiguousarray(seen))[None].to(job.device)
        noisy_btf, frames_b = torch.from_numpy(noisy_tf)[None].to(job.device), torch.tensor([frames], device=job.device)
        with torch.inference_mode():
            return model.estimate(noisy_btf, video, frames_b)[0].cpu().numpy()

    return estimate, model.mel_set, 5, lambda utt: store is None or utt in shown


def _transcripts(job: ScoreJob, failed: dict[str, Exception]) -> dict[str, dict]:
    """Recognition: errors of the beam's best and of greedy search."""
    import torch

    from avsr.decoding.beam import decode
    from avsr.pieces import units_of
    from avsr.training.checkpoint import load_model
    from avsr.training.tasks.batch import pad_batch

    model, content = load_model(job.checkpoint, job.device, job.system)
    units, mixer = units_of(content, str(job.checkpoint)), _mixer(job)
    store = lips_of(job.work_dir, content, job.checkpoint, job.device) if model.video_input else None
    table = read_datadir(job.work_dir / "data" / "test")
    texts = {utt: units.clean(row.text)[0] for utt, row in table.items()}  # what no recogniser can spell: left out
    utts = [utt for utt in sorted(mixer.rows) if store is None or utt in store]
    best: dict[str, str] = {}
    greedy: dict[str, str] = {}
    frames, seconds = 0, 0.0
    for start in range(0, len(utts), BATCH):
        items = []
        for utt in utts[start : start + BATCH]:
            with one_utterance(utt, failed):
                items.append(_heard_and_seen(model, mixer, store, utt))
        if not items:
            continue
        batch = _on(job.device, pad_batch(items))
        with torch.inference_mode():
            started = time.perf_counter()
            memory = model.encode(batch.get("noisy_mel"), batch.get("feats"), batch["frames"])
            for beam, found in ((job.beam, best), (1, greedy)):
                decoded = decode(model, memory, batch["frames"], beam, job.length_penalty)
                found |= {utt: units.decode(ids) for utt, ids in zip(batch["utts"], decoded, strict=True)}
                if found is best:
                    seconds += time.perf_counter() - started
        frames += int(batch["frames"].sum())
    rows = {utt: {"reason": "wer: no lip features of this utterance"} for utt in mixer.rows}
    for utt in best:
        with one_utterance(utt, failed):
            rows[utt] = score_transcripts(texts[utt], best[utt], greedy[utt])
    write_text(job.speed, speed_line(len(best), frames / 25, seconds, job.beam) + "\n")
    write_trn(job.folder / "hyp.trn", best)
    write_trn(job.folder / "ref.trn", {utt: texts[utt] for utt in best if utt in texts})
    return rows


def speed_line(utterances: int, speech: float, seconds: float, beam: int) -> str:
    """How fast texts were found: `speech` and `seconds` of work."""
    ratio = f"{speech / seconds:.1f} x real time" if seconds else "nothing to do"
    return f"decoded {utterances} utterances, {speech:.0f} s of speech, in {seconds:.1f} s (beam {beam}): {ratio}"


def _heard_and_seen(model: Any, mixer: ListMixer, store: Store | OwnLips | None, utt: str) -> dict[str, Any]:
    """What a recogniser decodes of an utterance."""
    noisy_n, _ = mixer.mixture(utt)
    item: dict[str, Any] = {"utts": utt, "frames": len(noisy_n) // 640}
    if not item["frames"]:
        raise UtteranceError(f"{utt}: lasts less than a frame")
    if model.audio_input:
        item["noisy_mel"] = mel(noisy_n, model.mel_set)
    if store is not None:
        item["feats"] = store.read(utt)
    return item


def _words(job: ScoreJob, failed: dict[str, Exception]) -> dict[str, dict]:
    """Lip reading: is the right word first, is it among the first five; and what each word is taken for."""
    import torch

    from avsr.training.checkpoint import load_model
    from avsr.training.tasks.batch import pad_batch
    from avsr.training.tasks.words import WordExamples, WordsData, word_list

    model, content = load_model(job.checkpoint, job.device, job.system)
    window = content["config"]["system"]["options"]["window"]
    head = _trained_head(content)
    examples = WordExamples(WordsData(job.work_dir, window, job.seed), "test", None)
    rows = {utt: {"reason": why} for utt, why in examples.left_out.items()}
    words, taken = word_list(job.work_dir), {}
    for start in range(0, len(examples), BATCH):
        items = []
        for index in range(start, min(start + BATCH, len(examples))):
            with one_utterance(examples.ids[index], failed):
                items.append(examples[index])
        if not items:
            continue
        batch = _on(job.device, pad_batch(items))
        with torch.inference_mode():
            logits_bn = model.logits(batch["crop112"], batch["frames"], head).cpu().numpy()
        for utt, scores, label in zip(batch["utts"], logits_bn, batch["label"].tolist(), strict=True):
            rows[utt] = score_label(scores, label)
            taken[utt] = (words[label], words[int(scores.argmax())])
    write_words(job.folder / WORDS_FILE, taken)
    return rows


def _trained_head(content: dict) -> str:
    """The back-end that the weights of this checkpoint were trained with: that of their phase."""
    phase = build(TrainConf, content["config"]["train"], "train").all_phases()[content["position"]["phase"]]
    return phase_options("lipread", phase).head
