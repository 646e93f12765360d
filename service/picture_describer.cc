#include "service/picture_describer.h"

#include <string>
#include <utility>

namespace blazon::service {

retrieval::LoaderOptions WithPictures(Captioner& captioner, const ModelStore& models,
                                      retrieval::LoaderOptions options) {
  options.describer = models.Info(ModelRole::kCaptioner).name;
  options.describe_picture = [&captioner](std::string_view bytes) -> absl::StatusOr<std::string> {
    CaptionRequest request;
    request.image = std::string(bytes);
    absl::StatusOr<CaptionResult> caption = captioner.Caption(request);
    if (!caption.ok()) return caption.status();
    return std::move(caption->text);
  };
  return options;
}

}  // namespace blazon::service
