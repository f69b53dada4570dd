"""Batches: every example once, bounded padding, an order that depends on seed, phase and epoch alone."""

from avsr.rng import rng
from avsr.training.buckets import epoch_indices, make_batches

IDS = [f"u{i:04d}" for i in range(500)]
LENGTHS = [int(n) for n in rng("lengths").integers(20, 150, 500)]


def padding(batch):
    longest = max(LENGTHS[i] for i in batch)
    return 1 - sum(LENGTHS[i] for i in batch) / (longest * len(batch))


def test_every_example_once_within_all_bounds():
    for order in ((), (1, "a", 0)):
        batches = make_batches(IDS, LENGTHS, 16, 900, 0.1, order)
        assert sorted(i for batch in batches for i in batch) == list(range(500))
        assert all(len(batch) <= 16 for batch in batches)
        assert all(len(batch) * max(LENGTHS[i] for i in batch) <= 900 for batch in batches)
        assert all(padding(batch) <= 0.1 for batch in batches)
        least = sum(LENGTHS) / 900
        assert len(batches) < 1.3 * least  # and they are well filled


def test_an_example_longer_than_the_bound_is_a_batch_of_its_own():
    assert make_batches(["a", "b", "c"], [10, 500, 11], 8, 100, None) == [[0, 2], [1]]


def test_order_and_company_change_from_epoch_to_epoch_and_come_back():
    epochs = [make_batches(IDS, LENGTHS, 16, None, 0.1, (1, "a", epoch)) for epoch in (0, 1, 0)]
    assert epochs[0] == epochs[2] != epochs[1]
    company = [{frozenset(batch) for batch in batches} for batches in epochs]
    assert len(company[0] & company[1]) < 3
    assert make_batches(IDS, LENGTHS, 16, None, 0.1, (2, "a", 0)) != epochs[0]
    means = [sum(LENGTHS[i] for i in batch) / len(batch) for batch in epochs[0]]
    falls = sum(a > b for a, b in zip(means, means[1:], strict=False))
    assert 0.3 < falls / len(means) < 0.7  # short and long ones come mixed


def test_the_order_does_not_depend_on_how_the_examples_are_listed():
    back = list(reversed(range(500)))
    one = make_batches(IDS, LENGTHS, 16, None, 0.1, (1, "a", 0))
    two = make_batches([IDS[i] for i in back], [LENGTHS[i] for i in back], 16, None, 0.1, (1, "a", 0))
    assert [[IDS[i] for i in batch] for batch in one] == [[IDS[back[i]] for i in batch] for batch in two]


def test_virtual_epochs_take_each_example_equally_often():
    ids = IDS[:70]
    seen = [i for epoch in range(7) for i in epoch_indices(ids, 30, 1, "p", epoch)]
    assert len(seen) == 210 and all(seen.count(i) == 3 for i in range(70))
    assert epoch_indices(ids, None, 1, "p", 5) == list(range(70))
    assert len(epoch_indices(ids, 150, 1, "p", 0)) == 150  # more than there are: some twice
