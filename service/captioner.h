// A picture to words: decode, encode, prompt, generate.
//
// Thread safety: every method may be called from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "language/generation_options.h"
#include "language/generation_result.h"
#include "service/model_store.h"
#include "service/text_generator.h"

namespace blazon::service {

struct CaptionRequest {
  std::string image;        // the bytes of a JPEG, PNG, WebP or BMP file
  std::string instruction;  // empty: a caption, asked for as the model was trained
  language::GenerationOptions options = DefaultOptions();
  Deadline deadline = kNoDeadline;

  // Greedy, at most 64 new tokens.
  static language::GenerationOptions DefaultOptions();
};

struct CaptionLabel {
  std::string name;
  double probability = 0;
};

struct CaptionResult {
  std::string text;
  std::vector<CaptionLabel> labels;  // the encoder's best classes, best first
  // Finish reason, usage, mean log-probability, seed, queue, prefill and generate ms.
  language::GenerationResult result;
  int64_t width = 0, height = 0;  // of the decoded picture
  double decode_ms = 0, encode_ms = 0;
};

// Receives one caption. OnDone is called exactly once, last.
class CaptionSink {
 public:
  virtual ~CaptionSink() = default;
  // Once, first; empty when the encoder has no classifier. Returns false to cancel.
  virtual bool OnLabels(const std::vector<CaptionLabel>& labels) = 0;
  // Whole UTF-8 characters only. Returns false to cancel.
  virtual bool OnText(std::string_view text) = 0;
  virtual void OnDone(const absl::StatusOr<CaptionResult>& result) = 0;
};

class Captioner {
 public:
  explicit Captioner(ModelStore& models) : models_(models) {}  // models must outlive it

  // Decodes and encodes on the calling thread (tens of milliseconds), calls OnLabels from it, then queues the
  // generation; text and OnDone come from the scheduler's thread. On an error OnDone is not called. kInvalidArgument: a
  // picture DecodeImage refuses, or an option out of range.
  absl::StatusOr<CancelFunction> Start(const CaptionRequest& request, std::shared_ptr<CaptionSink> sink);

  // The same, and waits.
  absl::StatusOr<CaptionResult> Caption(const CaptionRequest& request);

 private:
  ModelStore& models_;
};

}  // namespace blazon::service
