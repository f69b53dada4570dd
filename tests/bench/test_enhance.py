"""The costs of enhancement systems. How fast any is, is not asserted."""

import subprocess
import sys

import pytest

from avsr.bench import enhance
from avsr.bench.common import Options
from avsr.errors import AvsrError
from avsr.models.listing import build_meta
from avsr.models.systems import load_system

HOLD = ("import sys; from avsr.bench.enhance import resident_mb; held = bytearray(300 << 20); "
        "held[::4096] = b'x' * len(held[::4096]); del held; print(resident_mb())")  # fmt: skip


def test_rows_of_a_system():
    alone, *rows = enhance.run(Options(preset="tiny"), ["audio_only_crn"])
    title = "Audio-only CRN [audio_only_crn] tiny"
    assert [row.name for row in rows] == [f"{title}: {what}" for what in (
        "parameters", "multiply-adds", "real-time factor, one core", "peak memory")]  # fmt: skip
    assert [row.unit for row in rows] == ["10^6", "GMAC/s", "s/s", "MiB"]
    expected = sum(p.numel() for p in build_meta(load_system("audio_only_crn", "tiny")).parameters())
    assert rows[0].value == pytest.approx(expected / 1e6)
    assert min(row.value for row in rows) > 0
    assert 50 < alone.value < rows[3].value < 2000
    assert all(row.target is None for row in rows)


def test_multiply_adds_are_those_of_the_listing(capsys):
    from avsr.models.listing import table

    table(["tiny"], ["vse"])
    listed = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("vse "))
    cost = enhance.cost_here("vse", "tiny", repeats=1)
    assert f" {cost.gmac:.3f} " in listed and f" {cost.parameters:,} " in listed


def test_all_systems_that_enhance_are_measured():
    names = enhance.enhancement_systems()
    assert {"mhca_avcrn", "mhca_avcrn_wo_2stage", "audio_only_crn", "vse_faithful", "av_se2_late", "dl_avse", "ova",
            "l2l_faithful"} <= set(names)  # fmt: skip
    assert not {"eg_a", "eg_va_tcn", "p3d50"} & set(names)


def test_memory_is_the_peak_of_this_program_alone():
    held = bytearray(400 << 20)
    held[::4096] = b"x" * len(held[::4096])
    done = subprocess.run([sys.executable, "-c", HOLD], capture_output=True, text=True, check=True)
    assert 300 <= float(done.stdout) < 400
    del held


def test_a_system_that_cannot_run_is_named():
    with pytest.raises(AvsrError, match="^vse huge ended with code 1: .*no preset 'huge'"):
        enhance.measured_cost("vse", "huge")
