// The three stages in which the captioner learns. Each is a step over features that are already there;
// train_captioner.h puts them in order.
//
// 1. The tagger: rows for names that the encoder's classifier does not have, by softmax over all rows. The classifier's
//    own rows stay as they are; photographs teach the new rows to keep quiet.
// 2. Alignment: each image token is drawn to the language model's embedding of what its cell shows (a contrastive loss
//    over all names and colours), without running the language model.
// 3. Captions: connector and low-rank adapter together, by the language model's loss on the caption's tokens.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "language/language_model.h"
#include "language/tokenizer/tokenizer.h"
#include "service/families/captioner_family.h"
#include "service/training/captioner_dataset.h"
#include "vision/image_encoder.h"

namespace blazon::service {

// Everything that is learned from, as features.
struct TrainingSet {
  SceneFeatures scenes;
  // Per scene: it shows a picture that stages 1 and 2 may not see, so that stage 3 meets strangers.
  std::vector<char> reserved;
  CropFeatures crops;  // parts of photographs without captions; may be empty
  at::Tensor edited;   // fp16 [E, kCells, C]: features moved until the classifier names edited_class
  std::vector<int64_t> edited_class;
  CaptionedPictures captioned;  // may be empty
};

// Prints a line of progress.
using TrainingLog = std::function<void(const std::string&)>;
// Whether to end early.
using TrainingStop = std::function<bool()>;

// The concepts of the classes, the table's names and the shapes, and the concept of every row: classes first.
void BuildConcepts(const std::vector<std::string>& labels, const std::map<std::string, std::string>& names,
                   std::vector<Concept>& concepts, std::vector<int64_t>& row_concepts);

// `count` feature maps for which the classifier is 35 to 98 % sure of a class drawn at random, over all its classes:
// crops, or means of scenes, moved along the class's row and kept in the range of ReLU6. Fills set.edited and
// set.edited_class.
void EditFeatures(const vision::ImageEncoder& encoder, int64_t count, uint64_t seed, TrainingSet& set);

// Stage 1. `with_reserved`: the reserved pictures too.
absl::StatusOr<Tagger> TrainTagger(const vision::ImageEncoder& encoder, const TrainingSet& set,
                                   const std::vector<Concept>& concepts, const std::vector<int64_t>& row_concepts,
                                   bool with_reserved, int64_t steps, uint64_t seed, const TrainingLog& log,
                                   const TrainingStop& stop);

// Stage 2. Changes the connector in `weights`.
absl::Status AlignConnector(const vision::ImageEncoder& encoder, const language::LanguageModel& model,
                            const language::Tokenizer& tokenizer, const TrainingSet& set,
                            const CaptionerWeights& weights, int64_t steps, uint64_t seed, const TrainingLog& log,
                            const TrainingStop& stop);

struct CaptionStageOptions {
  int64_t steps = 1500;
  int64_t batch = 8;
  double connector_rate = 3e-4;
  double adapter_rate = 5e-4;
  double weight_decay = 0.01;
  double edited_share = 0.2;      // of the samples: edited features, "A photo of a tabby cat."
  double captioned_share = 0.15;  // of the samples, when there are captioned pictures
  double reading_dropout = 0.06;  // the chance that the prompt has no reading
  int64_t questions = 0;          // asked of a composed picture, beside its caption; of an edited one half as many
  uint64_t seed = 1;
  int64_t evaluate_every = 0;  // steps; 0: never
};

// Stage 3. Changes connector and adapter in `weights`; evaluate is called every evaluate_every steps.
absl::Status TrainCaptions(const std::shared_ptr<const vision::ImageEncoder>& encoder,
                           const language::LanguageModel& model, const language::Tokenizer& tokenizer,
                           const TrainingSet& set, const CaptionerWeights& weights, const CaptionStageOptions& options,
                           const TrainingLog& log, const TrainingStop& stop,
                           const std::function<void(int64_t step)>& evaluate);

}  // namespace blazon::service
