"""Trains Hugging Face's MarianMTModel with its Trainer, on the same batches."""

import os
import tempfile

from app.bench.contestants.batches import EOS, PAD, StoredBatches
from app.bench.contestants.protocol import Channel, Clock, sweep

LONGEST = 1024


def main() -> None:
    """Trains one model in turns, or one for each setting of a sweep."""
    os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
    channel = Channel()
    import torch

    spec, batches = channel.spec, StoredBatches(channel.spec["folder"])
    if spec["mode"] == "sweep":
        number = batches.typical()
        sweep(channel, lambda setting, trial: _train(spec["shape"], setting, lambda _: number, batches, trial))
    else:
        extra = spec["extra"]
        clock = Clock(channel, spec["warmup"] + extra, threads=torch.get_num_threads())
        _train(spec["shape"], spec["setting"], lambda update: update - extra, batches, clock)


def _train(shape, setting, number_of, batches, clock) -> None:
    import torch
    import transformers

    torch._dynamo.reset()

    class Stored(torch.utils.data.Dataset):
        """Whole batches as tensors."""

        def __len__(self):
            return 1_000_000

        def __getitem__(self, update):
            batch = {key: torch.from_numpy(side).long() for key, side in batches[number_of(update)].items()}
            labels = batch["labels"].masked_fill(batch["labels"] == PAD, -100)
            return {
                "input_ids": batch["source"],
                "attention_mask": (batch["source"] != PAD).long(),
                "decoder_input_ids": batch["target"],
                "labels": labels,
            }

    class InOrder(transformers.Trainer):
        """A Trainer that takes the batches as they come."""

        def get_train_dataloader(self):
            return torch.utils.data.DataLoader(Stored(), batch_size=None, shuffle=False)

    class Timed(transformers.TrainerCallback):
        """Calls the clock after every update."""

        def on_step_end(self, args, state, control, **kwargs):
            clock.updated(batches.tokens[number_of(state.global_step - 1) % len(batches)])

    with tempfile.TemporaryDirectory() as folder:
        trainer = InOrder(_model(shape), _arguments(setting, folder), callbacks=[Timed()])
        trainer.train()


def _arguments(setting, folder):
    import transformers

    return transformers.TrainingArguments(
        folder,
        max_steps=1_000_000,
        learning_rate=7e-4,
        adam_beta2=0.98,
        adam_epsilon=1e-9,
        max_grad_norm=1.0,
        label_smoothing_factor=0.1,
        optim="adamw_torch_fused",
        weight_decay=0.0,
        bf16=setting["precision"] == "bfloat16",
        torch_compile=setting["compile"],
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
    )


def _model(shape):
    import transformers

    return transformers.MarianMTModel(
        transformers.MarianConfig(
            vocab_size=shape["vocabulary"],
            max_position_embeddings=LONGEST,
            d_model=shape["width"],
            encoder_layers=shape["encoder_layers"],
            decoder_layers=shape["decoder_layers"],
            encoder_ffn_dim=shape["hidden"],
            decoder_ffn_dim=shape["hidden"],
            encoder_attention_heads=shape["heads"],
            decoder_attention_heads=shape["heads"],
            dropout=shape["dropout"],
            activation_function="relu",
            scale_embedding=True,
            pad_token_id=PAD,
            eos_token_id=EOS,
            decoder_start_token_id=2,
            forced_eos_token_id=EOS,
            use_cache=False,
        )
    )


if __name__ == "__main__":
    main()
