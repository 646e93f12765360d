// Trains an encoder-decoder transformer from nothing on pairs of texts: what 'blazon train seq2seq' does.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace blazon::service {

struct TextPair {
  std::string source, target;  // neither empty
};

// path: lines of "SOURCE<tab>TARGET", or with the ending .jsonl of {"source": "...", "target": "..."}.
// kNotFound: no such file; kInvalidArgument: a line is no pair, is not UTF-8 or has an unknown field, or there is none.
// The message names file and line.
absl::StatusOr<std::vector<TextPair>> ReadTextPairs(const std::filesystem::path& path);

struct TrainSeq2SeqOptions {
  std::vector<std::filesystem::path> data;  // see ReadTextPairs
  std::filesystem::path evaluation;         // held-out pairs; empty: a share of the data
  double validation = 0.05;                 // that share, drawn by the seed
  std::filesystem::path output;             // a folder; made if it is not there
  std::string tokenizer = "character";      // byte, character, word or bpe, learned from both sides
  int64_t vocabulary_size = 8192;           // of a word or bpe tokenizer, at most
  int64_t layers = 3;                       // of the encoder, and as many of the decoder
  int64_t heads = 4;
  int64_t width = 128;
  int64_t mlp_width = 0;   // 0: 4 * width
  int64_t context = 256;   // tokens of source and target together at most
  bool post_norm = false;  // norms behind the sums, as the paper has them
  double dropout = 0.1;
  double label_smoothing = 0.0;
  int64_t batch = 64;  // pairs in a step
  int64_t steps = 5000;
  double minutes = 0;  // stop, and end the schedule, after so long; 0: after the steps
  double learning_rate = 1e-3;
  double warm_up = 0.05;
  double weight_decay = 0.01;
  double clip_norm = 1.0;
  int64_t evaluate_every = 500;  // steps; 0: at the end
  int64_t evaluate_pairs = 500;  // held-out pairs that are measured and written, the first ones
  int64_t print_evaluated = 5;   // of which so many are shown
  double stop_at_exact = 1.0;    // ends when so large a share is written exactly; above 1: never
  bool overwrite = false;
  uint64_t seed = 1;
  std::string command;  // noted in the weights
  std::function<void(const std::string& line)> log = [](const std::string&) {};
  std::function<bool()> stop = [] { return false; };  // asked before each step; true ends training and saves
};

struct Seq2SeqScore {
  double loss = 0;    // a token of the held-out targets, end included, natural
  int64_t exact = 0;  // targets that greedy decoding gives as they are
  int64_t pairs = 0;
};

// Writes config.json, tokenizer.json, tokenizer_config.json and model.safetensors, a folder that 'generate --model'
// serves: the prompt is the source. Returns the score of what was saved.
// kInvalidArgument: an option is out of range, a pair is longer than the context; the message names it.
// kAlreadyExists: there is a model in `output`. kOutOfRange: the loss became infinite; nothing is written.
// kResourceExhausted: memory. And what ReadTextPairs says.
absl::StatusOr<Seq2SeqScore> TrainSeq2Seq(const TrainSeq2SeqOptions& options);

}  // namespace blazon::service
