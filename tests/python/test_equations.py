"""The forms of the model against each other, in float64."""
import pytest
import torch

from models.reference import equations, fixtures, training_ops
from models.reference.config import ModelConfig
from models.reference.export import stored
from models.reference.inference import Checkpoint
from models.reference.model import ChelaModel
from models.reference.recurrent import Decoder, HierarchicalState

BOUND = 1e-10  # float64 sums of a few thousand terms; the forms differ in order only


def relative(got, want):
    return ((got - want).norm() / want.norm()).item()


def exact_checkpoint(name):
    config = fixtures.case_config(name)
    tensors = fixtures.random_tensors(config, 5, with_decay=fixtures.CASES[name][5])
    return Checkpoint(config, stored(config, tensors), compute=torch.float64, exact=True)


def chunked(checkpoint, tokens, sizes):
    """Logits of the tokens fed in runs of the given sizes, again and again."""
    states, rows, begin, turn = None, [], 0, 0
    while begin < len(tokens):
        size = sizes[turn % len(sizes)]
        logits, states = checkpoint.forward(tokens[begin:begin + size], states)
        rows.append(logits)
        begin, turn = begin + size, turn + 1
    return torch.cat(rows)


@pytest.mark.parametrize("name", fixtures.CASES)
def test_recurrent_form_equals_parallel_form(name):
    checkpoint, tokens = exact_checkpoint(name), fixtures.case_tokens(80, 3)
    want, _ = checkpoint.forward(tokens)
    decoder = Decoder(checkpoint)
    got = torch.stack([decoder.step(int(token)) for token in tokens])
    assert relative(got, want) < BOUND


@pytest.mark.parametrize("sizes", [(1,), (7,), (64, 3), (1, 16, 5)])
@pytest.mark.parametrize("name", fixtures.CASES)
def test_any_split_equals_one_run(name, sizes):
    checkpoint, tokens = exact_checkpoint(name), fixtures.case_tokens(150, 4)
    want, _ = checkpoint.forward(tokens)
    assert relative(chunked(checkpoint, tokens, sizes), want) < BOUND


@pytest.mark.parametrize("name", fixtures.CASES)
def test_exported_branches_equal_the_training_form(name):
    config = fixtures.case_config(name)
    longest = config.short_conv.kernel_size
    torch.manual_seed(2)
    decay = torch.linspace(0.6, 0.99, config.num_heads).tolist()
    model = ChelaModel(config, sorted({longest, max(1, longest - 2), 1}), decay,
                       torch.float64).double()
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    tokens = fixtures.case_tokens(150, 6)
    hidden = model(tokens[None])[0]
    want = (hidden @ model.head_weight().T).detach()
    checkpoint = Checkpoint(config, model.merged_tensors(), compute=torch.float64, exact=True)
    assert relative(checkpoint.forward(tokens)[0], want) < BOUND


def definition(a, taps0, taps, t):
    """c_t of the hierarchical kernel by its formula; a [T], taps0 [B], taps [S, B/2]."""
    half = len(taps0) // 2
    total = sum(taps0[m] * a[t - m] for m in range(len(taps0)) if t >= m)
    for level, row in enumerate(taps, start=1):
        width = 2 ** level
        newest = (t + 1) // width - 1
        for m in range(half):
            block = newest - (half - 1) - m
            if block >= 0:
                total += row[m] * a[block * width:(block + 1) * width].mean()
    return total


@pytest.mark.parametrize("base, levels, length", [(4, 1, 37), (6, 2, 61), (8, 3, 131)])
def test_hierarchical_forms_equal_the_formula(base, levels, length):
    torch.manual_seed(base)
    a = torch.randn(length, 1, dtype=torch.float64)
    taps0 = torch.randn(1, base, dtype=torch.float64)
    taps = torch.randn(levels, 1, base // 2, dtype=torch.float64)
    want = torch.stack([definition(a[:, 0], taps0[0], taps[:, 0], t) for t in range(length)])
    run, _ = equations.hierarchical_convolution(a, taps0, taps, None)
    batch = training_ops.plain_hierarchical_convolution(a[None], taps0, taps,
                                                        torch.zeros(1, dtype=torch.float64))
    state = HierarchicalState(taps0, taps)
    steps = torch.stack([state.step(value) for value in a])
    for got in (run[:, 0], batch[0, :, 0], steps[:, 0]):
        assert relative(got, want) < BOUND


def test_explicit_convolution_equals_its_sum():
    torch.manual_seed(1)
    a, kernel = torch.randn(50, 3).double(), torch.randn(3, 20).double()
    want = sum(kernel[:, m] * training_ops.shifted(a[None], m)[0] for m in range(20))
    got, _ = equations.explicit_convolution(a, kernel, None)
    assert relative(got, want) < BOUND
    skip = torch.zeros(3, dtype=torch.float64)
    assert relative(training_ops.explicit_convolution(a[None], kernel, skip)[0], want) < BOUND


def test_rounding_follows_the_checkpoint_type():
    config = fixtures.case_config("hierarchical_b8_s3")
    tensors = stored(config, fixtures.random_tensors(config, 1))
    tokens = fixtures.case_tokens(40, 1)
    rounded, _ = Checkpoint(config, tensors, compute=torch.float64).forward(tokens)
    unrounded, _ = Checkpoint(config, tensors, compute=torch.float64, exact=True).forward(tokens)
    # Left operands carry 8 bits: far more than float64 noise, far less than a wrong result.
    assert 1e-5 < relative(rounded, unrounded) < 5e-2


def test_a_config_with_a_wrong_length_is_refused():
    good = fixtures.case_config("hierarchical_b4_s1").to_dict()
    good["long_conv"]["length"] = 24
    with pytest.raises(ValueError, match="length: 24"):
        ModelConfig.from_dict(good)


def test_a_missing_tensor_is_named():
    config = fixtures.case_config("explicit_n16")
    tensors = fixtures.random_tensors(config, 1)
    del tensors["model.layers.1.long_conv.skip"]
    with pytest.raises(ValueError, match="layers.1.long_conv.skip: missing"):
        Checkpoint(config, tensors)
