#include "service/training/caption_samples.h"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

#include <set>

#include "absl/strings/str_cat.h"
#include "service/training/caption_grammar.h"
#include "service/training/captioner_dataset.h"

namespace blazon::service {

CaptionSampleSource::CaptionSampleSource(const vision::ImageEncoder& encoder, const TrainingSet& set,
                                         const Tagger& tagger, const CaptionStageOptions& options)
    : encoder_(encoder), set_(set), tagger_(tagger), options_(options), random_(options.seed) {
  for (const Concept& concept_ : tagger.concepts()) {
    index_.emplace(concept_.name, static_cast<int64_t>(things_.size()));
    things_.push_back({concept_.name, concept_.kind});
  }
  std::set<std::string> drawn;
  for (const SceneDescription& scene : set.scenes.descriptions) {
    for (const SceneObject& object : scene.objects) {
      if (drawn.insert(object.name).second) drawn_.push_back({object.name, object.kind});
    }
  }
}

CaptionSampleSource::Sample CaptionSampleSource::Next() {
  const double choice = random_.Uniform();
  if (choice < options_.edited_share) return Photo();
  if (!set_.captioned.texts.empty() && choice < options_.edited_share + options_.captioned_share) {
    const PictureText& text = random_.Pick(set_.captioned.texts);
    return {set_.captioned.cells[static_cast<int64_t>(text.picture)].to(at::kFloat),
            set_.captioned.colours[text.picture], text.text, text.question};
  }
  const int64_t i = random_.Below(set_.scenes.cells.size(0));
  Sample sample{set_.scenes.cells[i].to(at::kFloat), set_.scenes.colours[static_cast<size_t>(i)], ""};
  const SceneDescription& scene = set_.scenes.descriptions[static_cast<size_t>(i)];
  std::vector<std::string> names;
  at::Tensor read;
  for (size_t object = 0; object < scene.objects.size(); ++object) {
    names.push_back(scene.objects[object].name);
    if (!set_.reserved[static_cast<size_t>(i)] || scene.objects[object].kind.empty()) continue;
    // A stranger: its name only where the tagger reads it right, else its kind, so that the model learns not to guess.
    if (!read.defined()) read = Read(sample.cells);
    const int64_t region =
        scene.objects.size() == 1 ? 0 : (scene.layout == Layout::kSideBySide ? 1 : 3) + static_cast<int64_t>(object);
    if (read[region].argmax().item<int64_t>() != index_.at(names.back())) names.back() = scene.objects[object].kind;
  }
  sample.caption = Caption(scene, names, random_);
  if (options_.questions > 0) {
    if (random_.Chance(0.1)) sample.instruction = RequestForCaption(random_);
    sample.questions = AskSome(options_.questions, scene, names, Wording::kTrained, drawn_, random_);
  }
  return sample;
}

// Of every concept in every region: [kRegions, N].
at::Tensor CaptionSampleSource::Read(const at::Tensor& cells) const {
  const at::NoGradGuard no_grad;
  return tagger_.ConceptProbabilities(tagger_.RowLogProbabilities(encoder_, PoolRegions(cells.unsqueeze(0))))[0];
}

// Features moved to a class of the encoder's.
CaptionSampleSource::Sample CaptionSampleSource::Photo() {
  const int64_t i = random_.Below(set_.edited.size(0));
  // Edited features have no pixels: they get the colours of some photograph, which say nothing of the thing.
  Sample sample{set_.edited[i].to(at::kFloat), set_.crops.colours.empty() ? "" : random_.Pick(set_.crops.colours), ""};
  const int64_t concept_ = tagger_.row_concepts()[static_cast<size_t>(set_.edited_class[static_cast<size_t>(i)])];
  const Concept& shown = tagger_.concepts()[static_cast<size_t>(concept_)];
  const double sure = Read(sample.cells)[0][concept_].item<double>();
  const std::string& told = sure < 0.35 && !shown.kind.empty() ? shown.kind : shown.name;
  sample.caption = absl::StrCat("A photo of ", WithArticle(told), ".");
  if (options_.questions > 0)
    sample.questions = AskOfPhoto((options_.questions + 1) / 2, told, shown.kind, things_, random_);
  return sample;
}

}  // namespace blazon::service
