// `blazon train reader`: the reader that chooses the answering sentence and refuses, trained on a reading set.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace blazon::service {

struct TrainReaderOptions {
  std::filesystem::path output;             // the safetensors file to write
  std::vector<std::filesystem::path> data;  // reading sets (service/training/reading_set.h)
  std::filesystem::path embedder;           // the folder of the BERT embedder that it stands on

  int64_t layers = 1;           // of the encoder, copied and trained
  double epochs = 3;            // passes over the answered questions
  int64_t batch = 8;            // questions in a step
  int64_t candidates = 6;       // sentences of a question in a step, the answering one included
  double learning_rate = 3e-4;  // peak, of the copied layers
  double head_rate = 1e-3;      // peak, of what is new
  double weight_decay = 0.01;
  double dropout = 0.1;
  double refusal_weight = 0.5;  // of the loss on whether a sentence answers, beside that on which one does
  uint64_t seed = 1;
  int64_t max_steps = 0;  // stop after so many; 0: when the epochs are over

  std::string command;                          // noted in the weights
  std::function<void(const std::string&)> log;  // progress lines; unset: stderr
  std::function<bool()> stop;                   // asked often; true ends training early and keeps what there is
};

// Trains on the documents that are not held out, measures on those that are, and writes the weights with the command,
// the seed and the data's digests in their metadata. The same options on the same machine give the same weights.
// kInvalidArgument: an option out of range, or data that ReadReadingSet refuses; kNotFound: a file is missing;
// kCancelled: stopped before there was anything to keep; kOutOfRange: the loss is not finite.
absl::Status TrainReader(const TrainReaderOptions& options);

}  // namespace blazon::service
