"""Tables in markdown against golden text; RESULTS.md; publication that keeps what is not its own."""

from dataclasses import replace

import pytest

from avsr.errors import AvsrError, UsageError
from avsr.scoring.checks import Rule
from avsr.scoring.claims import read_claims
from avsr.scoring.published import read_published
from avsr.scoring.report import (
    Run,
    checkpoint_digest,
    figure_folder,
    publish,
    put_section,
    read_training_log,
    wer_curves,
    write_report,
)
from avsr.scoring.results import Provenance, Results, write_scores
from avsr.scoring.tables import Column, System, Table, noise_columns, order, score_table

CRN = System("audio_only_crn", "Audio-only CRN", "enhance")
MHCA = System("mhca_avcrn", "MHCA-AVCRN", "enhance")
VSE = System("vse", "VSE", "enhance")
TCN = System("ae_tcn", "TCN-AE", "enhance", "mel_htk")
EG_A, EG_V = System("eg_a", "EG-seq2seq A", "recognise"), System("eg_v", "EG-seq2seq V", "recognise")
ORIGIN = Provenance("mini", "tiny", "./run.sh", "abc1234", "best.pt", "0123456789ab")


def put(work, system, test_set, rows, seed=1):
    write_scores(work / "exp" / system / f"seed{seed}" / test_set / "scores.tsv", rows, ORIGIN)


def stoi(value, spread=1.0):
    return {f"u{k}": {"stoi": value + (k - 1) * spread} for k in range(3)}


def run(**changes):
    kept = {"recipe": "mini", "protocol": "mini", "preset": "tiny", "synthetic": True, "systems": (CRN, VSE, MHCA)}
    return Run(**{**kept, **changes})


def test_markdown_golden():
    rows = [["One", "1.0 [0.5, 1.5]"], ["Two", "–"]]
    table = Table("A title (synthetic)", ["System", "a|b"], rows, ["Not run: Two."])
    assert table.markdown() == (
        "### A title (synthetic)\n\n"
        "| System | a\\|b |\n|---|--:|\n| One | 1.0 [0.5, 1.5] |\n| Two | – |\n\n"
        "Not run: Two.\n"
    )


GATE = (
    "What the paper calls MHCA-AVCRN has the block as its figure shows it, here the row MHCA-AVCRN (gate). Ours of the "
    "paper's names, MHCA-AVCRN, w/o balancing and w/o filtering, have the block's gate on the fused feature "
    "(`mhca_skip: gated_skip`; why: docs/mhca_study.md); the printed numbers stand beside them too."
)


def test_score_table_golden(tmp_path):
    put(tmp_path, "unprocessed", "speech_-5dB", stoi(58.0, 0.0), seed=0)
    put(tmp_path, "audio_only_crn", "speech_-5dB", {"u1": {"stoi": 70.0}, "u2": {"reason": "no face"}})
    put(tmp_path, "mhca_avcrn", "speech_-5dB", stoi(80.0, 0.0), seed=1)
    put(tmp_path, "mhca_avcrn", "speech_-5dB", stoi(82.0, 0.0), seed=2)
    put(tmp_path, "mhca_avcrn+shuffled", "speech_-5dB", stoi(50.0, 0.0))
    results = Results.read(tmp_path / "exp", "mini", "tiny")
    rows = order(results, [CRN, VSE, MHCA])
    columns = noise_columns(("speech", "own"), (-5,), ["stoi"])
    table = score_table("STOI %", results, rows, columns, lambda row: row.kind == "enhance", read_published())
    assert table.markdown() == (
        "### STOI %\n\n"
        "| System | -5 dB Speech | -5 dB Own | paper: -5 dB Speech |\n|---|--:|--:|--:|\n"
        "| Unprocessed | 58.0 [58.0, 58.0] | – | 57.82 |\n"
        "| Audio-only CRN | 70.0 (1/2) | – | 72.26 |\n"
        "| VSE | – | – | 79.94 |\n"
        "| MHCA-AVCRN | 81.0 ± 1.4 [81.0, 81.0] | – | 82.22 |\n"
        "| – seed 1 | 80.0 [80.0, 80.0] | – |  |\n"
        "| – seed 2 | 82.0 [82.0, 82.0] | – |  |\n"
        "| MHCA-AVCRN, shuffled video | 50.0 [50.0, 50.0] | – | – |\n\n"
        f"{GATE}\n\n"
        "Not run: VSE.\n"
    )


def test_what_differs_from_print_is_said_once_and_only_under_printed_numbers(tmp_path):
    for system in ("mhca_avcrn", "mhca_avcrn_wo_filtering"):
        for test_set in ("speech_-5dB", "own_-5dB"):
            put(tmp_path, system, test_set, stoi(80.0, 0.0))
    results = Results.read(tmp_path / "exp", "mini", "tiny")
    nothing = Results.read(tmp_path / "nowhere", "mini", "tiny")

    def notes(kind, systems, results=results):
        rows = order(results, systems)
        return score_table("T", results, rows, noise_columns((kind,), (-5,), ["stoi"]), lambda row: row in systems,
                           read_published()).notes

    filtering = System("mhca_avcrn_wo_filtering", "w/o filtering", "enhance")
    assert notes("speech", [MHCA, filtering]) == [GATE]
    assert notes("own", [MHCA, filtering]) == []  # nothing of it is printed
    assert notes("speech", [VSE, MHCA], nothing) == ["Not run: VSE, MHCA-AVCRN."]


def test_a_table_without_any_measured_row_only_says_so(tmp_path):
    results = Results.read(tmp_path, "mini", "tiny")
    table = score_table("T", results, [EG_A], [Column("clean", "clean", "wer")], lambda row: True, read_published())
    assert table.markdown() == "### T\n\nNot run: EG-seq2seq A.\n"


def test_no_pesq_fills_the_cells(tmp_path):
    reason = {"reason": "pesq_raw: no pesq; pesq_wb: no pesq", "pesq_raw": float("nan"), "stoi": 70.0}
    put(tmp_path, "mhca_avcrn", "speech_-5dB", {"u1": reason, "u2": reason})
    write_report(tmp_path, run())
    text = (tmp_path / "RESULTS.md").read_text()
    row = text.split("### Enhancement: PESQ")[1].split("| MHCA-AVCRN |")[1].splitlines()[0]
    assert row.startswith(" no pesq | – |")


def test_rows_follow_the_order_given_with_variants_beside(tmp_path):
    for name in ("mhca_avcrn@ab12", "mhca_avcrn+shuffled", "mhca_avcrn", "oracle", "stranger", "unprocessed", "vse"):
        put(tmp_path, name, "own_0dB", stoi(50))
    rows = order(Results.read(tmp_path / "exp", "mini", "tiny"), [VSE, MHCA])
    assert [row.name for row in rows] == [
        "Unprocessed", "VSE", "MHCA-AVCRN", "MHCA-AVCRN, shuffled video", "MHCA-AVCRN (checkpoint ab12)",
        "Oracle (true mel magnitude, mixture phase)", "`stranger`"]


def full_run(work, **changes):
    put(work, "unprocessed", "speech_-5dB", stoi(58.0), seed=0)
    put(work, "unprocessed", "babble_-5dB", {"u1": {"energy_linear": 97.0, "energy_sqrt": 60.0}}, seed=0)
    put(work, "ae_tcn", "babble_-5dB", {"u1": {"energy_linear": 60.0, "energy_sqrt": 40.0}})
    put(work, "mhca_avcrn", "speech_-5dB", stoi(80.0))
    for snr, errors in (("clean", 0), ("babble_0dB", 1), ("babble_-5dB", 2)):
        put(work, "eg_a", snr, {f"u{k}": {"words": 6, "word_errors": errors + k} for k in range(3)})
    put(work, "eg_v", "clean", {f"u{k}": {"words": 6, "word_errors": 3} for k in range(3)})
    crn, mhca, noisy = ((name, "speech_-5dB", "stoi") for name in ("audio_only_crn", "mhca_avcrn", "unprocessed"))
    rules = (Rule("MHCA above CRN", mhca, crn), Rule("MHCA above unprocessed", mhca, noisy))
    this = run(systems=(CRN, MHCA, TCN, EG_A, EG_V), rules=rules, **changes)
    figure = figure_folder(work, this) / "wer.png"
    figure.parent.mkdir(parents=True, exist_ok=True)
    figure.write_bytes(b"png of " + this.key.encode())
    write_report(work, this, [("wer.png", "WER against SNR")])
    return this


def test_every_training_stands_with_the_number_format_it_was_computed_in(tmp_path):
    full_run(tmp_path)
    write_report(tmp_path, run(), formats={"best.pt": "bf16 channels_last"})
    text = (tmp_path / "RESULTS.md").read_text()
    table = text.split("### Where every row comes from")[1].splitlines()
    header, row = (next(line for line in table if line.startswith(start)) for start in ("| System", "| MHCA-AVCRN"))
    place = [cell.strip() for cell in header.split("|")].index("trained in")
    assert row.split("|")[place].strip() == "bf16 channels_last"


def test_tables_of_enhancement_name_head_and_reconstruction(tmp_path):
    full_run(tmp_path)
    systems = (CRN, replace(MHCA, head="mask"))
    write_report(tmp_path, run(systems=systems, recon="pinv"))
    tables = (tmp_path / "RESULTS.md").read_text().split("### ")[1:]
    said = "Head of all systems: mask. Reconstruction of all rows (`score.recon`): pinv."
    named = [table.split(" (synthetic)")[0].splitlines()[0] for table in tables if said in table]
    assert named == ["Enhancement: STOI % (MHCA-AVCRN Tables 1 and 2)"]  # nothing else was scored on waveforms


def test_the_whole_page(tmp_path):
    full_run(tmp_path)
    text = (tmp_path / "RESULTS.md").read_text()
    titles = [line for line in text.splitlines() if line.startswith("#")]
    assert titles[0] == "# Results of mini (synthetic)"
    assert titles[1] == "## mini: protocol mini, preset tiny (synthetic)"
    assert all(title.endswith("(synthetic)") for title in titles)
    assert "| 80.0 [79.0, 81.0] | 58.0 [57.0, 59.0] | +22.0 [+22.0, +22.0] | > 0 | **holds** | yes |" in text
    assert "not measured (Audio-only CRN on speech_-5dB)" in text
    assert "![WER against SNR](figures/mini-tiny/wer.png)" in text
    assert "| MHCA-AVCRN | 1 | speech_-5dB | 3/3 | `best.pt` 0123456789ab | – | – | `abc1234` | `./run.sh` |" in text
    assert "| EG-seq2seq A | 1 | babble_-5dB, babble_0dB, clean | 3/3 |" in text
    energy = text.split("### Energy error %, magnitudes")[1].split("###")[0]
    assert "| TCN-AE | 60.0 | – | – | 59.5 | 46.3 | 33.1 |" in energy and "| Unprocessed | 97.0 |" in energy
    assert "MHCA" not in energy
    wer = text.split("### Recognition: WER %, babble")[1].split("###")[0]
    assert "| EG-seq2seq V | 50.0 [50.0, 50.0] | – | – | – | – | – | 57.8 |" in wer


def test_rows_with_another_mel_set_are_named(tmp_path):
    put(tmp_path, "ae_tcn", "natural_0dB", stoi(70))
    write_report(tmp_path, run(systems=(CRN, TCN)))
    text = (tmp_path / "RESULTS.md").read_text()
    assert "(`mel_htk`), not that of the others: TCN-AE." in text.split("### Enhancement: STOI")[1].split("###")[0]
    full_run(tmp_path / "other")
    assert "not that of the others" not in (tmp_path / "other" / "RESULTS.md").read_text()


def test_a_system_of_magnitudes_stands_in_the_enhancement_tables(tmp_path):
    put(tmp_path, "av_se2_faithful", "natural_0dB", stoi(70))
    row = System("av_se2_faithful", "AV(SE)² (as published)", "enhance", "stft161")
    write_report(tmp_path, run(systems=(CRN, row)))
    text = (tmp_path / "RESULTS.md").read_text()
    assert "AV(SE)² (as published)" in text.split("### Enhancement: STOI")[1].split("###")[0]
    assert "Energy error" not in text


def test_the_same_scores_give_the_same_page(tmp_path):
    full_run(tmp_path)
    before = [(tmp_path / name).read_bytes() for name in ("RESULTS.md", "results.csv")]
    full_run(tmp_path)
    assert [(tmp_path / name).read_bytes() for name in ("RESULTS.md", "results.csv")] == before


def test_a_real_corpus_is_not_called_synthetic(tmp_path):
    full_run(tmp_path, synthetic=False)
    assert "synthetic" not in (tmp_path / "RESULTS.md").read_text()


def test_publication_replaces_its_own_section_and_keeps_the_others(tmp_path):
    recipe = tmp_path / "egs"
    other = run(preset="full")
    put_section(recipe / "RESULTS.md", other, "## the full preset\n\n\\1 kept to the byte")
    kept = figure_folder(recipe, other) / "kept.png"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"kept")
    this = full_run(tmp_path / "work")
    stale = figure_folder(recipe, this) / "stale.png"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"of an older run")
    written = publish(tmp_path / "work", recipe, this)
    assert written == [recipe / "RESULTS.md", recipe / "figures" / "mini-tiny" / "wer.png"]
    once = (recipe / "RESULTS.md").read_text()
    assert once.count("\\1 kept to the byte") == 1 and once.index("the full preset") < once.index("preset tiny")
    put(tmp_path / "work", "mhca_avcrn", "speech_-5dB", stoi(85.0))
    write_report(tmp_path / "work", this, [("wer.png", "WER against SNR")])
    publish(tmp_path / "work", recipe, this)
    twice = (recipe / "RESULTS.md").read_text()
    assert twice.count("preset tiny (synthetic)") == 1 and "85.0 [84.0, 86.0]" in twice and "80.0 [79" not in twice
    assert twice.split("preset tiny")[0] == once.split("preset tiny")[0]
    assert kept.read_bytes() == b"kept" and not stale.exists()


def test_figures_of_an_earlier_part_of_the_run_are_kept_where_that_is_asked(tmp_path):
    recipe, work = tmp_path / "egs", tmp_path / "work"
    this = full_run(work)
    gates = figure_folder(work, this) / "gates.png"
    gates.write_bytes(b"gates")
    write_report(work, this, [("wer.png", "WER against SNR"), ("gates.png", "Gates, utterance a")])
    publish(work, recipe, this, keep_figures=True)
    write_report(work, this, [("wer.png", "WER against SNR, anew")])
    for _ in range(2):
        publish(work, recipe, this, keep_figures=True)
        text = (recipe / "RESULTS.md").read_text()
        assert text.count("gates.png") == text.count("Drawn in an earlier part") == 1 and text.count("wer.png") == 1
        assert "*WER against SNR, anew (synthetic)*" in text and "*Gates, utterance a (synthetic)*" in text
        assert (figure_folder(recipe, this) / "gates.png").read_bytes() == b"gates"
    publish(work, recipe, this)
    assert "gates.png" not in (recipe / "RESULTS.md").read_text()
    assert not (figure_folder(recipe, this) / "gates.png").exists()


def test_what_cannot_be_published_is_refused(tmp_path):
    with pytest.raises(AvsrError, match="run stage 9 first"):
        publish(tmp_path / "work", tmp_path / "egs", run())
    this = full_run(tmp_path / "work")
    (figure_folder(tmp_path / "work", this) / "wer.png").unlink()
    with pytest.raises(AvsrError, match="wer.png: this figure is missing"):
        publish(tmp_path / "work", tmp_path / "egs", this)
    assert not (tmp_path / "egs" / "RESULTS.md").exists()


def test_nothing_scored_is_an_error(tmp_path):
    with pytest.raises(AvsrError, match="no scores of protocol mini, preset tiny"):
        write_report(tmp_path, run())


def test_names_that_would_leave_the_folder_are_refused():
    with pytest.raises(UsageError):
        run(preset="../x")


def test_curves_for_the_figure(tmp_path):
    full_run(tmp_path)
    results = Results.read(tmp_path / "exp", "mini", "tiny")
    curves, levels = wer_curves(results, {"eg_a": "A", "eg_v": "V", "eg_av": "AV"})
    assert list(curves) == ["A"] and sorted(curves["A"]) == [-5, 0]
    assert curves["A"][-5][0] == pytest.approx(50.0) and levels == {"V": pytest.approx(50.0)}


def test_training_log(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("step,phase,epoch,train_loss,valid\n1,a,0,3.0,\n2,a,0,2.5,2.0\n3,b,0,1.5,1.0\n")
    curves = read_training_log(path)
    assert {name: values.tolist() for name, values in curves.items()} == {
        "epoch": [1, 2], "train": [2.5, 1.5], "valid": [2.0, 1.0]}
    path.write_text("step,phase,epoch,train_loss,valid\n1,a,0,3.0,\n")
    with pytest.raises(AvsrError, match=r"log\.csv: no epoch"):
        read_training_log(path)


def test_checkpoint_digest(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    (tmp_path / "b").write_bytes(b"x" * 2_999_999 + b"y")
    assert len(checkpoint_digest(tmp_path / "a")) == 12
    assert checkpoint_digest(tmp_path / "a") != checkpoint_digest(tmp_path / "b")


def test_recognisers_stand_by_what_they_hear_and_see_and_ours_are_named(tmp_path):
    rows = (System("tm_av", "TM AV", "recognise", inputs="AV"), System("eg_vav_tcn", "T-EG VAV", "joint", inputs="VAV"),
            System("eg_gru_a", "EG A, plain GRU", "recognise", inputs="A", ours=True),
            System("eg_va_tcn", "T-EG VA", "joint", inputs="VA"), System("eg_v", "EG V", "recognise", inputs="V"))
    for row in rows:
        put(tmp_path, row.id, "clean", {"u1": {"words": 6, "word_errors": 1}})
    write_report(tmp_path, run(systems=rows))
    text = (tmp_path / "RESULTS.md").read_text()
    wer = text.split("### Recognition: WER %, babble (AE-MSR Tables 2 and 3) (synthetic)")[1].split("###")[0]
    names = [line.split("|")[1].strip() for line in wer.splitlines() if line.startswith("| ")][1:]
    assert names == ["EG A, plain GRU", "EG V", "TM AV", "T-EG VA", "T-EG VAV"]
    assert "Ours, in no table of the paper: EG A, plain GRU.\n" in wer


def test_the_best_mask_stands_in_the_table_of_energy_errors_alone(tmp_path):
    for name, error in (("unprocessed", 90.0), ("oracle_mask", 20.0), ("ae_tcn", 50.0)):
        put(tmp_path, name, "babble_0dB", {"u1": {"energy_linear": error, "energy_sqrt": error}})
    write_report(tmp_path, run(systems=(CRN, TCN)))
    text = (tmp_path / "RESULTS.md").read_text()
    energy = text.split("### Energy error %, magnitudes, babble (AE-MSR Table 4)")[1].split("###")[0]
    assert "| Best mask of 0 to 1 | – | 20.0 | – | – | – | – |" in energy and "The best mask, min(" in energy
    assert "Best mask" not in text.split("### Energy error")[0]


def test_errors_over_bins_stand_in_a_table_of_their_own(tmp_path):
    bins = System("ae_bins", "TCN-AE, 321 bins", "enhance", "stft")
    for name, error in (("unprocessed", 90.0), ("ae_tcn", 50.0)):
        put(tmp_path, name, "babble_0dB", {"u1": {"energy_linear": error, "energy_sqrt": error}})
    write_report(tmp_path, run(systems=(CRN, TCN)))
    text = (tmp_path / "RESULTS.md").read_text()
    assert "bins of the STFT" not in text
    put(tmp_path, "ae_bins", "babble_0dB", {"u1": {"energy_stft": 40.0, "energy_stft_noisy": 80.0}})
    write_report(tmp_path, run(systems=(CRN, TCN, bins)))
    bands, over_bins = (
        (tmp_path / "RESULTS.md").read_text().split(f"### Energy error %, {title}")[1].split("###")[0]
        for title in ("magnitudes", "bins of the STFT")
    )
    assert "321 bins" not in bands and bands in text
    assert "| TCN-AE, 321 bins | – | – | 40.0 | 80.0 | – | – |" in over_bins
    assert "| System | -5 dB | -5 dB noisy | 0 dB | 0 dB noisy | 5 dB | 5 dB noisy |" in over_bins
    assert "Unprocessed" not in over_bins and "not to be compared with errors over mel bands" in over_bins


def test_claims_are_printed_where_they_are_asked_for(tmp_path):
    full_run(tmp_path)
    assert "### Claims" not in (tmp_path / "RESULTS.md").read_text()
    full_run(tmp_path, claims=tuple(read_claims("ae_msr")))
    claims = (tmp_path / "RESULTS.md").read_text().split("### Claims (synthetic)")[1].split("###")[0]
    text = "Energy errors: TCN-AE below 1DRN-AE, both below the noisy mixture"
    assert f"| {text} | **cannot be told** where measured | 1 of 1; clear in 0" in claims  # of one utterance
    assert "| On clean speech AV has a lower WER than A | not measured |" in claims


@pytest.mark.parametrize("phones", [False, True])
def test_recognisers_of_phones_stand_beside_no_printed_word_errors(tmp_path, phones):
    put(tmp_path, "eg_a", "clean", {"u1": {"word_errors": 1, "words": 4, "char_errors": 1, "chars": 9}})
    put(tmp_path, "p3d50", "words", {"u1": {"top1": 1.0}, "u2": {"top1": 0.0}})
    write_report(tmp_path, run(systems=(EG_A, System("p3d50", "C3D-P3D50", "lipread")), phones=phones))
    text = (tmp_path / "RESULTS.md").read_text()
    recognition = text.split("### Recognition: ")[1].split("###")[0]
    lips = text.split("### Lip reading: ")[1].split("###")[0]
    if phones:
        assert recognition.startswith("phone error rate %, babble (synthetic)") and "write phones here" in recognition
        assert "paper:" not in recognition + lips and lips.startswith("phone accuracy %")
        assert "CER" not in text and "WER" not in text
    else:
        assert recognition.startswith("WER %, babble (AE-MSR Tables 2 and 3) (synthetic)") and "phone" not in text
        assert "paper: clean" in recognition and "paper: top 1" in lips and lips.startswith("word accuracy %")
        assert "### Recognition: CER %, babble" in text
    assert "| EG-seq2seq A | 25.0 " in recognition
