// What a checkpoint is, and whether and how Blazon runs it, without reading its weights.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace blazon::service {

struct CheckpointReport {
  std::string format;             // "Hugging Face folder", "GGUF version 3"
  std::string model_type;         // "gemma2"; of a GGUF, its architecture
  std::string name;               // general.name of a GGUF; the folder's name
  std::string problem;            // why Blazon cannot run it; empty: it can
  std::string tokenizer_problem;  // why its tokenizer cannot be used; empty: it can
  std::string
      chat_template_problem;  // why chats cannot be laid out (it has no template, or an unknown one); empty: can

  bool sees_pictures = false;   // takes pictures beside text
  int64_t tokens_per_tile = 0;  // that a picture takes in the context, or each tile of one that is split; 0: none

  int64_t parameters = 0;
  int64_t tensors = 0;
  int64_t files = 0;                       // that hold weights
  int64_t weight_bytes = 0;                // in the files
  std::map<std::string, int64_t> formats;  // parameters by how the files keep them: "BF16", "Q4_1", ...
  int64_t width = 0, layers = 0, vocabulary_size = 0, context_length = 0;  // 0 where it cannot be run

  // Memory by the --dtype asked for.
  struct Memory {
    std::string dtype;
    int64_t weight_bytes = 0;
    int64_t bytes_per_token = 0;  // that one sequence keeps; 0 where it cannot be run
  };
  std::vector<Memory> memory;
};

// path: a Hugging Face folder, a folder with one GGUF file, or a GGUF file. Reads headers and configs only.
// kNotFound, kDataLoss, kInvalidArgument: nothing can be said of it; the message says why.
absl::StatusOr<CheckpointReport> InspectCheckpoint(const std::filesystem::path& path);

}  // namespace blazon::service
