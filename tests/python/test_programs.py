"""Train, resume, export, evaluate and generate on a tiny text, as the command lines do."""
import json
import math

import numpy
import pytest
import torch

from models.reference import data, evaluate, experiment, generate, train
from models.reference.config import ModelConfig
from models.reference.export import export, model_from_state
from models.reference.inference import Checkpoint
from models.reference.recurrent import Decoder
from models.reference.tokenizer import load_tokenizer

TEXT = "The ferry left at six. Nobody waved, nobody spoke; the river took it.\n" * 12
MODEL = {
    "vocab_size": 258, "hidden_size": 16, "num_hidden_layers": 2, "num_heads": 2, "shared_dim": 8,
    "value_dim": 16, "intermediate_size": 16, "ffn": "swiglu", "norm": "rmsnorm", "norm_eps": 1e-5,
    "feature_map": "elu1", "short_conv": {"kernel_size": 4},
    "long_conv": {"kind": "hierarchical", "length": 32, "base_length": 4},
    "tie_word_embeddings": True, "bos_token_id": 256, "eos_token_id": 257, "add_bos_token": True,
    "torch_dtype": "bfloat16", "tokenizer": "bytes"}
SETTINGS = {
    **train.DEFAULTS, "precision": "float32", "model": MODEL, "branches": [4, 2],
    "decay": [0.9, 0.99], "sequence_length": 32, "batch_tokens": 128, "train_tokens": 128 * 12,
    "warmup_steps": 2,
    "optimizer": {"matrix_optimizer": "muon", "matrix_lr": 0.02, "lr": 0.01, "conv_lr": 0.003,
                  "weight_decay": 0.1, "betas": [0.9, 0.95]}}


def token_ids():
    return numpy.array([256] + list(TEXT.encode()), numpy.uint16)


def trained(tmp_path, **changes):
    trainer = train.Trainer({**SETTINGS, **changes}, token_ids(), "cpu", compiled=False)
    train.run(trainer, tmp_path)
    return trainer


def exported(tmp_path):
    folder = tmp_path / "checkpoint"
    export(trained(tmp_path).model, folder)
    return folder


def mean_loss(trainer):
    tokens, targets = trainer.stream.at(0)
    with torch.no_grad():
        return train.head_loss(trainer.model(tokens), trainer.model.head_weight(), targets).item()


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_training_lowers_the_loss(tmp_path, optimizer):
    settings = {**SETTINGS["optimizer"], "matrix_optimizer": optimizer, "matrix_lr": 0.01}
    before = mean_loss(train.Trainer(SETTINGS, token_ids(), "cpu", compiled=False))
    after = mean_loss(trained(tmp_path, optimizer=settings, train_tokens=128 * 40))
    assert after < before - 1.0
    assert (tmp_path / "loss.csv").read_text().startswith("step,tokens,seconds")


def test_a_resumed_run_equals_an_unbroken_one(tmp_path):
    whole = trained(tmp_path)
    broken = train.Trainer(SETTINGS, token_ids(), "cpu", compiled=False)
    for _ in range(5):
        broken.train_step(broken.step / 12)
    train.save_state(broken, tmp_path)
    resumed = train.Trainer(SETTINGS, token_ids(), "cpu", compiled=False)
    resumed.load(torch.load(tmp_path / "state.pt"))
    train.run(resumed, tmp_path)
    for want, got in zip(whole.model.parameters(), resumed.model.parameters()):
        assert torch.equal(want, got)


def test_a_time_limit_ends_the_schedule_early(tmp_path):
    trainer = train.Trainer({**SETTINGS, "train_tokens": 10 ** 9}, token_ids(), "cpu", False)
    train.run(trainer, tmp_path, max_seconds=1.0)
    assert 0 < trainer.step < 10 ** 9 // 128


def test_the_export_of_a_saved_state_is_the_model(tmp_path):
    trainer = trained(tmp_path)
    state = torch.load(tmp_path / "state.pt")
    for want, got in zip(trainer.model.parameters(), model_from_state(state).parameters()):
        assert torch.equal(want, got)


def test_exported_types_are_those_of_the_format(tmp_path):
    from models.reference.safetensors_io import load_checkpoint
    for name, tensor in load_checkpoint(exported(tmp_path)).items():
        narrow = tensor.dim() > 1 and "_conv." not in name
        assert tensor.dtype == (torch.bfloat16 if narrow else torch.float32), name


def test_evaluation_does_not_depend_on_the_chunk(tmp_path):
    folder = exported(tmp_path)
    checkpoint = Checkpoint.load(folder)
    documents = data.split_documents(TEXT[:300] + "\n\f\n" + TEXT[:91])
    results = [evaluate.evaluate(checkpoint, documents, folder, chunk) for chunk in (7, 64, 1000)]
    assert results[0]["tokens"] == results[0]["bytes"] == 300 + 1 + 91
    for result in results[1:]:
        assert math.isclose(result["nll_nats"], results[0]["nll_nats"], rel_tol=1e-4)


def test_separators_go_away_with_their_line_feed():
    assert data.split_documents("a\nb\n\f\nc\n") == ["a\nb\n", "c\n"]
    assert data.split_documents("\f\n\f\na") == ["a"]
    assert data.split_documents("a\f\n\f b") == ["a\f\n\f b"]


def test_window_scoring_scores_every_token_once():
    ids = numpy.arange(1, 38).astype(numpy.uint16)
    score = evaluate.Score()
    evaluate.score_document_by_windows(lambda tokens: torch.zeros(*tokens.shape, 64), ids, 8, 3,
                                       "cpu", score)
    assert score.tokens == 36
    assert math.isclose(score.nats, 36 * math.log(64), rel_tol=1e-6)


def test_greedy_generation_takes_the_likeliest_token(tmp_path):
    folder = exported(tmp_path)
    checkpoint, tokenizer = Checkpoint.load(folder), load_tokenizer(folder)
    ids = generate.generate(checkpoint, tokenizer, "The", 5, 0, 1.0, seed=0)
    decoder = Decoder(checkpoint)
    for token in [256] + list(b"The"):
        logits = decoder.step(token)
    assert ids[0] == int(logits.argmax())


def test_sampling_stays_inside_the_nucleus():
    generator = torch.Generator().manual_seed(0)
    logits = torch.tensor([3.0, 2.9, -5.0, -6.0])
    drawn = {generate.sample(logits, 1.0, 0.9, generator) for _ in range(200)}
    assert drawn == {0, 1}


def test_an_experiment_writes_its_result(tmp_path, monkeypatch):
    for name, text in (("settings.json", json.dumps(SETTINGS)), ("valid.txt", TEXT[:200])):
        (tmp_path / name).write_text(text)
    numpy.save(tmp_path / "train.npy", token_ids())
    ModelConfig.from_dict(MODEL).save(tmp_path)
    monkeypatch.setattr("sys.argv", [
        "experiment", "--settings", str(tmp_path / "settings.json"), "--set", "seed=3", "--data",
        str(tmp_path / "train.npy"), "--valid", str(tmp_path / "valid.txt"), "--tokenizer",
        str(tmp_path), "--out", str(tmp_path / "run"), "--workers", "1", "--device", "cpu"])
    experiment.main()
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["settings"]["seed"] == 3
    assert 0 < result["valid"]["bits_per_byte"] < 12
