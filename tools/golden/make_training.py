"""Expected loss, gradients and AdamW steps of the tiny models: tests/golden/training.

All in float32 through transformers' own models, autograd and torch.optim.AdamW. The converted model's attention is
written from the definition: latent projections as parameters, rows put back to their place in the head, kept pairs
rotated. Run with transformers 5.23.0.
"""
import shutil

import torch
from safetensors.torch import load_file, save_file
from transformers import LlavaForConditionalGeneration

import common
from make_conversion import D, HEADS, kept_pairs, row_lists

ROOT = common.golden_root()
OUT = ROOT / "training"
MODELS = {"mha": "models/mha", "gqa": "models/gqa", "mla": "original/fp32_2norm_joint"}
STEPS, LEARNING_RATE, WEIGHT_DECAY, MAX_NORM = 10, 1e-3, 0.1, 1.0
SAMPLE = 48


class LatentAttention(torch.nn.Module):
    """Joint latent attention of one layer. pairs: bool [K, D/2], which pairs (j, j + D/2) are rotated."""

    def __init__(self, weights, pairs):
        super().__init__()
        self.weights = torch.nn.ParameterDict({name.replace(".", "/"): torch.nn.Parameter(tensor)
                                               for name, tensor in weights.items()})
        kept, other = row_lists(pairs)
        self.rows_k = torch.from_numpy(kept), torch.from_numpy(other)
        kept, other = row_lists(pairs.repeat(HEADS // len(pairs), 0))
        self.rows_q = torch.from_numpy(kept), torch.from_numpy(other)
        self.turned = torch.from_numpy(pairs).repeat(1, 2)  # [K, D]

    def linear(self, name, hidden):
        return torch.nn.functional.linear(hidden, self.weights[name.replace(".", "/") + "/weight"])

    def rotate(self, x, cos, sin, turned):
        """x [B, S, heads, D]"""
        half = torch.cat([-x[..., D // 2:], x[..., :D // 2]], dim=-1)
        return torch.where(turned, x * cos[:, :, None] + half * sin[:, :, None], x)

    def forward(self, hidden_states, position_embeddings, attention_mask=None, **unused):
        cos, sin = position_embeddings
        batch, length = hidden_states.shape[:2]
        latent = self.linear("kv_proj.down_kv", hidden_states)
        kept = torch.cat([*self.rows_k])
        k = torch.cat([self.linear("k_r_proj", hidden_states), self.linear("kv_proj.up_k", latent)], dim=-1)
        k = k[..., kept.argsort()].view(batch, length, -1, D)
        v = self.linear("kv_proj.up_v", latent).view(batch, length, -1, D)
        q = self.linear("q_proj", hidden_states)[..., torch.cat([*self.rows_q]).argsort()].view(batch, length, HEADS, D)
        repeat = HEADS // k.shape[2]
        q = self.rotate(q, cos, sin, self.turned.repeat_interleave(repeat, 0))
        k = self.rotate(k, cos, sin, self.turned)
        q, k, v = (x.transpose(1, 2) for x in (q, k.repeat_interleave(repeat, 2), v.repeat_interleave(repeat, 2)))
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        scores = (q @ k.transpose(-1, -2) / D ** 0.5).masked_fill(future, -torch.inf)
        return self.linear("o_proj", (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)), None


def load(name):
    if name != "mla":
        return LlavaForConditionalGeneration.from_pretrained(ROOT / MODELS[name], dtype=torch.float32)
    model = load("mha")
    tensors = load_file(ROOT / MODELS[name] / "model.safetensors")
    ranks = torch.load(ROOT / "original/ranks.pth").numpy()
    flags = {"rope_dim_for_mla": 8, "partial_rope_version": "2-norm"}
    for index, layer in enumerate(model.model.language_model.layers):
        prefix = f"language_model.model.layers.{index}.self_attn."
        weights = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
        layer.self_attn = LatentAttention(weights, kept_pairs(flags, ranks[index]))
    return model


def stored_name(name):
    """A parameter's name in the files."""
    for current, stored in (("model.language_model.", "language_model.model."), ("lm_head.", "language_model.lm_head."),
                            ("model.vision_tower.", "vision_tower."),
                            ("model.multi_modal_projector.", "multi_modal_projector.")):
        if name.startswith(current):
            name = stored + name.removeprefix(current)
            break
    if name.startswith("vision_tower.") and not name.startswith("vision_tower.vision_model."):
        name = "vision_tower.vision_model." + name.removeprefix("vision_tower.")
    return name.replace("self_attn.weights.", "self_attn.").replace("/", ".")


def batches(inputs):
    """Two batches of two rows, right-padded: prompts with made-up answers, of which parts are labelled."""
    generator = torch.Generator().manual_seed(common.SEED)
    made = []
    for keys in (("one", "text"), ("text", "two")):
        rows, labels = [], []
        for key in keys:
            answers = torch.randint(10, 500, (7,), generator=generator)
            ids = torch.cat([inputs[f"{key}.input_ids"], answers, torch.tensor([2])])
            label = ids.clone()
            label[:len(ids) - 8] = -100
            if key == "text":  # a second turn: a gap between labelled spans
                more = torch.randint(10, 500, (9,), generator=generator)
                ids, label = torch.cat([ids, more]), torch.cat([label, more])
                label[-9:-4] = -100
            rows.append(ids)
            labels.append(label)
        width = max(map(len, rows))
        pad = lambda row, value: torch.nn.functional.pad(row, (0, width - len(row)), value=value)
        made.append({"input_ids": torch.stack([pad(row, common.PAD_ID) for row in rows]),
                     "attention_mask": torch.stack([pad(torch.ones_like(row), 0) for row in rows]),
                     "labels": torch.stack([pad(row, -100) for row in labels]),
                     "pixel_values": inputs["one.pixel_values" if "one" in keys else "two.pixel_values"]})
    return made


def sample(tensor):
    """Up to SAMPLE elements, evenly spread."""
    flat = tensor.detach().flatten()
    return flat[::max(1, len(flat) // SAMPLE)][:SAMPLE].clone()


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    data = batches(load_file(ROOT / "models/inputs.safetensors"))
    save_file({f"{i}.{key}": value.contiguous() for i, batch in enumerate(data) for key, value in batch.items()},
              OUT / "batches.safetensors")
    for name in MODELS:
        model = load(name).train()
        parameters = {stored_name(key): value for key, value in model.named_parameters()}
        decayed = [v for k, v in parameters.items() if not k.endswith(".bias") and "norm" not in k]
        rest = [v for k, v in parameters.items() if k.endswith(".bias") or "norm" in k]
        optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": WEIGHT_DECAY},
                                       {"params": rest, "weight_decay": 0.0}], lr=LEARNING_RATE)
        out, losses, norms = {}, [], []
        for step in range(STEPS):
            optimizer.zero_grad()
            loss = model(**data[step % 2]).loss
            loss.backward()
            losses.append(loss.detach())
            if step == 0:
                for key, value in parameters.items():
                    if value.grad is not None:
                        out[f"gradient.{key}"] = sample(value.grad)
                        out[f"gradient_norm.{key}"] = value.grad.norm()
            norms.append(torch.nn.utils.clip_grad_norm_(parameters.values(), MAX_NORM))
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * (step + 1) / STEPS
            optimizer.step()
        for key, value in parameters.items():
            if value.grad is not None:
                out[f"final.{key}"] = sample(value)
        out |= {"loss": torch.stack(losses), "grad_norm": torch.stack(norms)}
        save_file(out, OUT / f"{name}.safetensors")
        print(name, [round(x.item(), 4) for x in losses], [round(x.item(), 3) for x in norms])
    common.write_recipe(OUT, "tools/golden/make_training.py", steps=STEPS, learning_rate=LEARNING_RATE,
                        weight_decay=WEIGHT_DECAY, max_grad_norm=MAX_NORM)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
