// What 'train sft', 'train finetune' and their kin have in common: the model, what of it is trained, and where the
// result goes. No tensors in here: the command line reads it too.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "language/training/lora_options.h"
#include "service/training/trainer_options.h"

namespace blazon::service {

struct LanguageTrainingOptions {
  std::filesystem::path model;      // a Hugging Face folder, a GGUF file or a folder with one
  std::filesystem::path tokenizer;  // as of LanguageModelLoadOptions
  std::string base_name;            // what an adapter's config calls the model
  // What the model computes in, "fp32" or "bf16"; what is trained is kept, moved and written in fp32 always.
  std::string dtype = "fp32";

  bool all_weights = false;         // else an adapter
  language::LoraOptions lora = {};  // of the adapter
  // An adapter to begin with, in PEFT's layout; 'train dpo', 'reward', 'grpo' and 'ppo' take one. Empty: none.
  std::filesystem::path start_adapter = {};
  bool half = false;          // the adapter that the run's folder receives is rounded to fp16
  double weight_decay = 0.0;  // of matrices
  int64_t batch = 16;         // records, or pieces of text, in a step
  int64_t row_tokens = 1024;  // tokens computed at once: bounds the memory, changes nothing else
  // Layers are computed again in the backward pass (language/ops/recomputed_layers.h): less memory, more time, nothing
  // else changes. Not for an LSTM.
  bool recompute = false;
  std::string sample_prompt = {};  // for TrainerOptions::sample_every
  int64_t sample_tokens = 64;

  // The run's folder receives the result too: an adapter in PEFT's layout, or a Hugging Face folder of the model; and
  // run.json, which names the model that an adapter is for.
  TrainerOptions trainer = {};
  std::string command;  // noted in the weights
};

}  // namespace blazon::service
