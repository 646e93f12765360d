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
  std::string instruction;  // empty: describe the picture
  language::GenerationOptions options;
  Deadline deadline = kNoDeadline;
};

struct CaptionLabel {
  std::string name;
  double probability = 0;
};

struct CaptionResult {
  std::string text;
  std::vector<CaptionLabel> labels;   // the encoder's best classes, best first
  language::GenerationResult result;  // finish reason, usage, mean log-probability, seed, queue, prefill and generate ms
  int64_t width = 0, height = 0;      // of the decoded picture
  double decode_ms = 0, encode_ms = 0;
  std::string model_digest, captioner_digest;
};

// Receives one caption. OnDone is called exactly once, last.
class CaptionSink {
 public:
  virtual ~CaptionSink() = default;
  // Whole UTF-8 characters only. Returns false to cancel.
  virtual bool OnText(std::string_view text) = 0;
  virtual void OnDone(const absl::StatusOr<CaptionResult>& result) = 0;
};

class Captioner {
 public:
  explicit Captioner(ModelStore& models) : models_(models) {}  // models must outlive it

  // Decodes and encodes on the calling thread (tens of milliseconds), then queues the generation; the sink is called from the
  // scheduler's thread. On an error the sink is not called. kInvalidArgument: a picture DecodeImage refuses, or an option out of range.
  absl::StatusOr<CancelFunction> Start(const CaptionRequest& request, std::shared_ptr<CaptionSink> sink);

  // The same, and waits.
  absl::StatusOr<CaptionResult> Caption(const CaptionRequest& request);

 private:
  ModelStore& models_;
};

}  // namespace blazon::service
