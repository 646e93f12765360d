#include "service/captioner.h"

#include <chrono>
#include <future>
#include <utility>

#include "absl/strings/str_cat.h"
#include "service/families/vision_language_family.h"
#include "service/language_runtime.h"
#include "service/milliseconds_since.h"
#include "vision/decode_image.h"

namespace blazon::service {
namespace {

constexpr size_t kMaxInstructionBytes = 4096;

// Gathers a generation's text and passes it on with what is known of the picture.
class PassOn : public language::TextSink {
 public:
  PassOn(CaptionResult so_far, std::shared_ptr<CaptionSink> sink)
      : result_(std::move(so_far)), sink_(std::move(sink)) {}

  bool OnText(std::string_view text) override {
    result_.text += text;
    return sink_->OnText(text);
  }

  void OnDone(const absl::StatusOr<language::GenerationResult>& result) override {
    if (!result.ok()) return sink_->OnDone(result.status());
    result_.result = *result;
    sink_->OnDone(std::move(result_));
  }

 private:
  CaptionResult result_;
  std::shared_ptr<CaptionSink> sink_;
};

class CaptionWait : public CaptionSink {
 public:
  bool OnLabels(const std::vector<CaptionLabel>&) override { return true; }
  bool OnText(std::string_view) override { return true; }
  void OnDone(const absl::StatusOr<CaptionResult>& result) override { promise_.set_value(result); }
  absl::StatusOr<CaptionResult> Get() { return promise_.get_future().get(); }

 private:
  std::promise<absl::StatusOr<CaptionResult>> promise_;
};

}  // namespace

language::GenerationOptions CaptionRequest::DefaultOptions() {
  language::GenerationOptions options;
  options.max_new_tokens = 64;
  return options;
}

absl::StatusOr<CancelFunction> Captioner::Start(const CaptionRequest& request, std::shared_ptr<CaptionSink> sink) {
  if (request.instruction.size() > kMaxInstructionBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("instruction has ", request.instruction.size(), " bytes; the limit is ", kMaxInstructionBytes));
  }
  // What is cheap to refuse is refused before any model is loaded.
  CaptionResult so_far;
  auto start = std::chrono::steady_clock::now();
  absl::StatusOr<vision::Image> image = vision::DecodeImage(request.image);
  if (!image.ok()) return image.status();
  so_far.decode_ms = MillisecondsSince(start);
  so_far.width = image->width;
  so_far.height = image->height;

  absl::StatusOr<LanguageRuntime*> runtime = models_.Language();
  if (!runtime.ok()) return runtime.status();
  absl::StatusOr<const VisionLanguageFamily*> family = models_.Captioner();
  if (!family.ok()) return family.status();
  const language::LanguageModelConfig& config = (*runtime)->loaded.model->config();
  if (absl::Status status = language::Validate(request.options, config.vocabulary_size, config.context_length);
      !status.ok()) {
    return status;
  }

  start = std::chrono::steady_clock::now();
  absl::StatusOr<std::vector<EncodedImage>> encoded = (*family)->Encode({&*image, 1});
  if (!encoded.ok()) return encoded.status();
  so_far.encode_ms = MillisecondsSince(start);
  for (const vision::Label& label : encoded->front().labels) so_far.labels.push_back({label.name, label.probability});

  absl::StatusOr<language::Prompt> prompt = (*family)->BuildPrompt(*encoded, request.instruction);
  if (!prompt.ok()) return prompt.status();
  if (!sink->OnLabels(so_far.labels)) return absl::CancelledError("the caller went away");
  language::GenerationRequest generation;
  generation.prompt = *std::move(prompt);
  generation.bidirectional = (*family)->Spans(generation.prompt);
  generation.options = request.options;
  generation.begins_text = true;
  generation.adapter = (*family)->adapter();
  generation.deadline = request.deadline;
  generation.sink = std::make_shared<PassOn>(std::move(so_far), std::move(sink));
  return (*runtime)->scheduler->Submit(std::move(generation));
}

absl::StatusOr<CaptionResult> Captioner::Caption(const CaptionRequest& request) {
  auto wait = std::make_shared<CaptionWait>();
  absl::StatusOr<CancelFunction> started = Start(request, wait);
  if (!started.ok()) return started.status();
  return wait->Get();
}

}  // namespace blazon::service
