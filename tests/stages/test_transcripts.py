"""Transcripts with characters that no recogniser spells, and empty ones: left out, counted, not scored."""

import re
import shutil

import pytest

from avsr.models.systems import load_system
from avsr.noise.lists import NoiseConf
from avsr.scoring.results import Provenance, Results, read_scores
from avsr.stages import recognise, train_system
from avsr.stages.score_jobs import ScoreJob, run_job, speed_line
from avsr.text import EOS, Characters
from avsr.training import checkpoint
from avsr.training.conf import Phase
from avsr.training.tasks.recognise import RecogniseData, RecogniseTask
from tests.stages.tiny import make_work, one_line

SPOILT = {"c0": "Bin, blue — at “f” two now!", "c1": "", "c2": "…"}  # 6 characters, none, 1


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A work folder after stage 4 whose first speaker of every split has odd transcripts."""
    work = make_work(tmp_path_factory.mktemp("work"), clips=4, frames=5)
    for split, speaker in (("train", "s1"), ("valid", "s3"), ("test", "s5")):
        path = work / "data" / split / "text"
        table = dict(line.split(" ", 1) for line in path.read_text().splitlines())
        table |= {f"{speaker}-{clip}": text for clip, text in SPOILT.items()}
        path.write_text("".join(f"{utt} {text}\n" for utt, text in table.items()))
    return work


def test_stage_7_counts_them_in_its_log(work, monkeypatch, capsys):
    started = []
    monkeypatch.setattr(train_system, "train_many", lambda jobs, nj: started.extend(jobs))
    words = ["--work-dir", str(work), "--set=recognise.preset=tiny", "--set=recognise.systems=[eg_a]"]
    assert recognise.main(words) == 0 and len(started) == 1
    log = (work / "exp/log/recognise.log").read_text()
    for text in (capsys.readouterr().out, log):
        for split in ("train", "valid", "test"):
            head = f"{work}/data/{split}/text: "
            assert f"{head}2 of 8 transcripts have characters outside the set A-Z 0-9 ' and space; these 6" in text
            assert f"{head}2 of 8 transcripts are empty; their utterances are left out" in text


@pytest.mark.parametrize("split", ["train", "valid"])
def test_a_split_without_any_transcript_is_refused_by_stage_7_before_it_trains(work, tmp_path, split, capsys):
    shutil.copytree(work, tmp_path / "work")
    path = tmp_path / "work/data" / split / "text"
    path.write_text("".join(f"{line.split()[0]} \n" for line in path.read_text().splitlines()))
    words = ["--work-dir", str(tmp_path / "work"), "--set=recognise.preset=tiny", "--set=recognise.systems=[eg_a]"]
    assert recognise.main(words) == 1
    assert f"recognise: {path}: no utterance has a transcript, which recognisers need there; " in one_line(capsys)
    assert not (tmp_path / "work/exp/eg_a").exists()


@pytest.mark.parametrize("speaker", ["s1", "s3"])
def test_training_and_validation_leave_them_out(work, speaker):
    task = RecogniseTask(RecogniseData(work, True, None, NoiseConf(p_speech=0.0), 0))
    phase = Phase("sentences", options={"words": None, "p_noise": 0.0})
    examples = task.examples(phase, 0) if speaker == "s1" else task.valid_examples(phase)
    assert [utt for utt in examples.ids if utt.startswith(speaker)] == [f"{speaker}-c0", f"{speaker}-c3"]
    tokens = examples[examples.ids.index(f"{speaker}-c0")]["tokens"].tolist()
    assert tokens == Characters().encode("BIN BLUE AT F TWO NOW") and len(tokens) == 22 and tokens[-1] == EOS


def test_scoring_compares_with_what_can_be_spelt_and_counts_the_empty_ones(work):
    from avsr.models.registry import build_model

    system = load_system("eg_a", "tiny")
    best = work / "exp/eg_a/seed0/best.pt"
    weights = build_model(system.model).state_dict()
    described = {"system": {"id": "eg_a", "model": system.model}}
    checkpoint.save(best, {"system": "eg_a", "model": weights, "config": described})
    origin = Provenance("mini", "tiny", "./run.sh", "abc1234", "best.pt", "0123456789ab")
    job = ScoreJob("eg_a", "recognise", 0, "clean", work, best, origin, beam=1)
    run_job(job)
    references = (job.folder / "ref.trn").read_text().splitlines()
    assert "BIN BLUE AT F TWO NOW (s5-c0)" in references and "(s5-c1)" in references
    said = job.speed.read_text()  # 8 clips of 5 frames
    assert (found := re.fullmatch(r"decoded 8 utterances, 2 s of speech, in .* \(beam 1\): (.*) x real time\n", said))
    assert float(found[1]) > 0
    scores = read_scores(job.folder / "scores.tsv")
    empty = {"s5-c1": "wer: the reference is empty", "s5-c2": "wer: the reference is empty"}
    assert len(scores.utts) == 8 and scores.reasons == empty
    words = dict(zip(scores.utts, scores.columns["words"].tolist(), strict=True))
    assert words["s5-c0"] == 6
    one = Results.read(work / "exp", "mini", "tiny").summary("eg_a", "clean", "wer")
    assert (one.scored, one.total) == (6, 8)


def test_the_speed_of_decoding_is_a_ratio_to_the_length_of_the_speech():
    assert speed_line(60, 170.2, 23.0, 30) == (
        "decoded 60 utterances, 170 s of speech, in 23.0 s (beam 30): 7.4 x real time"
    )
    assert speed_line(0, 0.0, 0.0, 1).endswith("nothing to do")
