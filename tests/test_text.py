"""The 41 characters."""

from avsr.text import BOS, EOS, PAD, Characters


def test_ids_are_fixed():
    characters = Characters()
    assert (PAD, EOS, BOS) == (0, 1, 2)
    assert characters.size == 41
    assert characters.encode(" '") == [4, EOS]
    assert characters.encode("a z 0 9") == [5, 3, 30, 3, 31, 3, 40, EOS]


def test_round_trip():
    characters = Characters()
    everything = "ABCDEFGHIJKLM NOPQRSTUVWXYZ DON'T 0123456789"
    ids = characters.encode(everything)
    assert set(ids) == set(range(41)) - {PAD, BOS}
    assert characters.decode(ids) == everything


def test_decoding_stops_at_eos_and_leaves_specials_out():
    assert Characters().decode([BOS, 5, PAD, 6, EOS, 7]) == "AB"
    assert Characters().decode([]) == ""


def test_cleaning():
    characters = Characters()
    assert characters.clean("  we  really don't {LAUGH} walk\tanymore ") == ("WE REALLY DON'T WALK ANYMORE", 0)
    assert characters.clean("bin blue - at f, two!") == ("BIN BLUE AT F TWO", 3)
    assert characters.clean("It’s é") == ("IT'S", 1)
    assert characters.clean("") == ("", 0)
