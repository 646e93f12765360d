// What the captioner's third stage learns from: pictures as features, each with a caption and questions that are true
// of it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "service/families/tagger.h"
#include "service/training/captioner_trainer.h"
#include "service/training/like_things.h"
#include "service/training/picture_questions.h"
#include "service/training/random_source.h"
#include "vision/image_encoder.h"

namespace blazon::service {

// Draws samples without end. All that the constructor takes must outlive the source; one thread at a time.
class CaptionSampleSource {
 public:
  CaptionSampleSource(const vision::ImageEncoder& encoder, const TrainingSet& set, const Tagger& tagger,
                      const CaptionStageOptions& options);

  struct Sample {
    at::Tensor cells;  // fp32 [kCells, C]
    std::string colours;
    std::string caption;           // or the answer to
    std::string instruction = "";  // a question, or a request for the caption
    std::vector<PictureQuestion> questions = {};
  };
  Sample Next();

  RandomSource& random() { return random_; }

 private:
  at::Tensor Read(const at::Tensor& cells) const;
  Sample Photo();

  const vision::ImageEncoder& encoder_;
  const TrainingSet& set_;
  const Tagger& tagger_;
  const CaptionStageOptions& options_;
  RandomSource random_;
  std::map<std::string, int64_t> index_;    // of a concept, by name
  std::vector<NamedThing> things_, drawn_;  // all that can be named; what the scenes show
};

}  // namespace blazon::service
