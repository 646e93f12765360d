// Trains a small language model from nothing on texts: what 'blazon train gpt' does.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "language/training/network_config.h"

namespace blazon::service {

class ProcessGroup;

struct TrainGptOptions {
  std::vector<std::filesystem::path> data;  // see ReadTextCorpus
  std::filesystem::path output;             // a folder; made if it is not there
  std::string tokenizer = "character";      // byte, character, word, bpe; or a folder that has one
  int64_t vocabulary_size = 8192;           // of a word or bpe tokenizer, at most
  std::string blocks = "gpt2";              // gpt2, modern, lstm
  bool post_norm = false;                   // gpt2: norms behind the sums
  // What a token is to the first block. "learned": a row of a table that is trained with the rest; "one-hot": 1 at its
  // own place and 0 at all others, so that the width must hold the vocabulary; "skip-gram": a row of a table that was
  // trained before on the same tokens to predict their neighbours (word2vec). One-hot rows stay as they are, and have
  // an output matrix of their own.
  std::string inputs = "learned";
  bool freeze_inputs = false;       // skip-gram: the rows stay as they are, with an output matrix of their own
  int64_t skip_gram_passes = 5;     // over the tokens to learn
  language::NetworkConfig network;  // blocks and vocabulary_size come from elsewhere
  std::string dtype = "auto";       // fp32; bf16 (see NetworkConfig::bf16); auto: fp32
  int64_t batch = 16;               // rows in a step
  bool recompute = false;           // as of LanguageTrainingOptions
  int64_t steps = 2000;
  double minutes = 0;  // stop, and end the schedule, after so long; 0: after the steps
  double learning_rate = 1e-3;
  double warm_up = 0.03;      // share of the steps over which the rate rises; then a cosine
  double weight_decay = 0.1;  // of matrices
  double clip_norm = 1.0;
  double validation = 0.1;         // share of the tokens, at the end, that is never learned
  int64_t evaluate_every = 250;    // steps; 0: at the end
  int64_t evaluate_windows = 128;  // rows of the held-out tokens that are measured, evenly spread; 0: all
  int64_t sample_every = 500;      // steps; 0: never
  int64_t sample_tokens = 200;
  std::string sample_prompt = "\n";
  double sample_temperature = 0.8;
  bool overwrite = false;  // a model that is there
  uint64_t seed = 1;
  int threads = 0;      // 0: as they are
  std::string command;  // noted in the weights
  std::function<void(const std::string& line)> log = [](const std::string&) {};
  std::function<bool()> stop = [] { return false; };  // asked before each step; true ends training and saves
  // The processes that train together, each a share of a step's rows; null: this one alone. The first one alone
  // writes, measures and reports; `output` is its own.
  std::shared_ptr<ProcessGroup> group = nullptr;
};

// Writes config.json, tokenizer.json, tokenizer_config.json and model.safetensors: a Hugging Face folder that
// 'generate --model' serves and, but for an LSTM, transformers loads. Kept are the weights of the evaluation with the
// lowest held-out loss.
// kInvalidArgument: an option is out of range, or there is too little text; the message names it. kAlreadyExists: there
// is a model in `output`. kUnavailable: a process of the group is lost. kOutOfRange: the loss became infinite; nothing
// is written. kResourceExhausted: memory. And what ReadTextCorpus and SaveTokenizer say.
absl::Status TrainGpt(const TrainGptOptions& options);

}  // namespace blazon::service
