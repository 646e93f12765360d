#include "service/training/evaluate_captioner.h"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <memory>
#include <optional>
#include <set>
#include <sstream>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "service/evaluation/vqa_accuracy.h"
#include "service/training/scene_composer.h"
#include "vision/decode_image.h"

namespace blazon::service {
namespace {

constexpr int64_t kImagesPerBatch = 64;  // decoding reads all weights once a step, however many captions it makes

bool HasWords(const std::string& text, const std::string& words) {
  for (size_t at = text.find(words); at != std::string::npos; at = text.find(words, at + 1)) {
    const bool starts = at == 0 || !std::isalnum(static_cast<unsigned char>(text[at - 1]));
    const size_t end = at + words.size();
    if (starts && (end == text.size() || !std::isalnum(static_cast<unsigned char>(text[end])))) return true;
  }
  return false;
}

// Captions of pictures in batches: encodes and generates.
absl::Status CaptionInBatches(const CaptionerUnderTest& captioner, const std::vector<vision::Image>& images,
                              std::vector<CaptionJudgement>& judgements) {
  for (size_t begin = 0; begin < images.size(); begin += kImagesPerBatch) {
    const size_t count = std::min<size_t>(kImagesPerBatch, images.size() - begin);
    absl::StatusOr<std::vector<EncodedImage>> encoded =
        captioner.family.Encode(absl::MakeConstSpan(images).subspan(begin, count));
    if (!encoded.ok()) return encoded.status();
    absl::StatusOr<std::vector<std::string>> captions =
        GreedyCaptions(captioner.model, captioner.tokenizer, captioner.family, *encoded);
    if (!captions.ok()) return captions.status();
    for (size_t i = 0; i < count; ++i) {
      judgements[begin + i].caption = (*captions)[i];
      judgements[begin + i].reading = (*encoded)[i].reading;
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<std::string>> GreedyCaptions(const language::LanguageModel& model,
                                                        const language::Tokenizer& tokenizer,
                                                        const VisionLanguageFamily& family,
                                                        absl::Span<const EncodedImage> pictures, int64_t max_tokens) {
  return GreedyAnswers(model, tokenizer, family, pictures, {}, max_tokens);
}

absl::StatusOr<std::vector<std::string>> GreedyAnswers(const language::LanguageModel& model,
                                                       const language::Tokenizer& tokenizer,
                                                       const VisionLanguageFamily& family,
                                                       absl::Span<const EncodedImage> pictures,
                                                       absl::Span<const std::string> instructions, int64_t max_tokens) {
  const at::NoGradGuard no_grad;
  const size_t count = pictures.size();
  const std::shared_ptr<const language::Adapter> adapter = family.adapter();
  std::vector<std::unique_ptr<language::ModelState>> states;
  std::vector<language::ModelInput> inputs;
  std::vector<int64_t> last;  // the last row of each input
  int64_t rows = 0;
  for (size_t i = 0; i < count; ++i) {
    absl::StatusOr<language::Prompt> prompt =
        family.BuildPrompt(pictures.subspan(i, 1), instructions.empty() ? "" : instructions[i]);
    if (!prompt.ok()) return prompt.status();
    std::vector<at::Tensor> parts;
    for (const language::PromptPart& part : *prompt) {
      const auto* text = std::get_if<std::vector<language::TokenId>>(&part);
      parts.push_back(text != nullptr ? model.Embed(at::tensor(*text, at::kLong)).to(at::kFloat)
                                      : std::get<at::Tensor>(part));
    }
    states.push_back(model.NewState());
    language::ModelInput input;
    input.embeddings = at::cat(parts);
    input.state = states.back().get();
    input.adapter = adapter.get();
    rows += input.embeddings.size(0);
    last.push_back(rows - 1);
    inputs.push_back(std::move(input));
  }
  std::vector<std::vector<language::TokenId>> spoken(count);
  std::vector<size_t> running(count);  // inputs[j] is picture running[j]
  for (size_t i = 0; i < count; ++i) running[i] = i;
  for (int64_t step = 0; step < max_tokens && !running.empty(); ++step) {
    const at::Tensor hidden = model.Forward(inputs).index_select(0, at::tensor(last, at::kLong));
    const at::Tensor best = model.Logits(hidden).argmax(1);  // [n]
    std::vector<size_t> still;
    inputs.clear();
    last.clear();
    for (size_t j = 0; j < running.size(); ++j) {
      const auto token = static_cast<language::TokenId>(best[static_cast<int64_t>(j)].item<int64_t>());
      if (tokenizer.IsSpecial(token)) continue;  // end of text
      const size_t picture = running[j];
      spoken[picture].push_back(token);
      language::ModelInput input;
      input.tokens = at::full({1}, token, at::kLong);
      input.state = states[picture].get();
      input.adapter = adapter.get();
      inputs.push_back(std::move(input));
      last.push_back(static_cast<int64_t>(still.size()));
      still.push_back(picture);
    }
    running = std::move(still);
  }
  std::vector<std::string> captions;
  for (const std::vector<language::TokenId>& tokens : spoken) captions.push_back(tokenizer.Decode(tokens, true));
  return captions;
}

bool Mentions(const std::string& caption, const std::string& phrase) {
  const std::string text = absl::AsciiStrToLower(caption);
  return HasWords(text, absl::AsciiStrToLower(phrase)) || HasWords(text, absl::AsciiStrToLower(Plural(phrase)));
}

std::string Noun(const SceneObject& object) {
  return object.path.empty() ? object.name.substr(object.name.rfind(' ') + 1) : object.name;
}

bool RelationIsRight(const std::string& caption, const SceneDescription& scene) {
  std::string nouns[] = {Noun(scene.objects[0]), Noun(scene.objects[1])};
  if (nouns[0] == nouns[1]) {
    for (size_t i = 0; i < 2; ++i) nouns[i] = scene.objects[i].name;
  }
  for (const bool left : {true, false}) {
    const std::string words = left ? " to the left of " : " to the right of ";
    const size_t at = caption.find(words);
    if (at == std::string::npos) continue;
    const std::string before = caption.substr(0, at), after = caption.substr(at + words.size());
    return Mentions(before, nouns[left ? 0 : 1]) && Mentions(after, nouns[left ? 1 : 0]);
  }
  return false;
}

absl::StatusOr<SceneReport> EvaluateScenes(const CaptionerUnderTest& captioner, const PictureLibrary& library,
                                           const std::vector<cv::Mat>& photos, int64_t count, uint64_t seed) {
  SceneOptions options;
  options.augmentation = Augmentation::kMild;
  options.libraries = {{"stamps", 1.0}};
  const SceneComposer composer(library, photos, options);
  RandomSource random(seed);
  std::vector<vision::Image> images;
  std::vector<SceneDescription> scenes;
  std::vector<CaptionJudgement> judgements;
  for (int64_t i = 0; i < count; ++i) {
    Scene scene = composer.Compose(random);
    std::string shows = scene.description.objects[0].name;
    if (scene.description.objects.size() > 1) {
      absl::StrAppend(&shows, scene.description.layout == Layout::kSideBySide ? " | " : " over ",
                      scene.description.objects[1].name);
    }
    if (scene.description.layout == Layout::kCount) shows = absl::StrCat(scene.description.count, " x ", shows);
    judgements.push_back({shows, "", "", false});
    images.push_back(std::move(scene.image));
    scenes.push_back(std::move(scene.description));
  }
  const absl::Status status = CaptionInBatches(captioner, images, judgements);
  if (!status.ok()) return status;

  static constexpr const char* kNumbers[] = {"", "", "two", "three", "four", "five"};
  SceneReport report;
  for (size_t i = 0; i < scenes.size(); ++i) {
    const SceneDescription& scene = scenes[i];
    const std::string& caption = judgements[i].caption;
    bool right = true;
    for (const SceneObject& object : scene.objects) {
      ++report.objects;
      const bool named = Mentions(caption, Noun(object));
      if (object.path.empty()) {
        ++report.colours;
        report.colours_right += Mentions(caption, object.name);
      }
      report.named += named;
      right &= named;
    }
    if (scene.layout == Layout::kSideBySide) {
      ++report.relations;
      report.relations_right += RelationIsRight(caption, scene);
      right &= RelationIsRight(caption, scene);
    }
    if (scene.layout == Layout::kCount) {
      ++report.counts;
      report.counts_right += Mentions(caption, kNumbers[scene.count]);
    }
    if (scene.layout == Layout::kOne) {
      ++report.backgrounds;
      report.backgrounds_right += Mentions(caption, absl::StrCat(scene.background, " background"));
    }
    judgements[i].right = right;
    if (!right) report.wrong.push_back(judgements[i]);
  }
  return report;
}

absl::StatusOr<QuestionReport> EvaluateQuestions(const CaptionerUnderTest& captioner, const PictureLibrary& library,
                                                 const std::vector<cv::Mat>& photos, int64_t count, int64_t each,
                                                 uint64_t seed) {
  SceneOptions options;
  options.augmentation = Augmentation::kMild;
  options.libraries = {{"stamps", 1.0}};
  const SceneComposer composer(library, photos, options);
  std::vector<NamedThing> absent;
  std::set<std::string> known;
  for (const Cutout& cutout : library.cutouts()) {
    if (cutout.library == "stamps" && known.insert(cutout.name).second) absent.push_back({cutout.name, cutout.kind});
  }
  RandomSource random(seed);
  QuestionReport report;
  for (int64_t done = 0; done < count;) {
    std::vector<vision::Image> images;
    std::vector<PictureQuestion> questions;
    std::vector<size_t> image_of;
    std::vector<std::string> shows;
    for (; done < count && std::ssize(images) < 32; ++done) {
      Scene scene = composer.Compose(random);
      std::vector<std::string> names;
      for (const SceneObject& object : scene.description.objects) names.push_back(object.name);
      // Kinds are drawn together, so that one scene's questions differ; then each is put in its wording.
      for (const PictureQuestion& drawn : AskSome(each, scene.description, names, Wording::kTrained, absent, random)) {
        const Wording wording = questions.size() % 2 == 0 ? Wording::kTrained : Wording::kHeldOut;
        std::optional<PictureQuestion> asked = AskOf(drawn.kind, scene.description, names, wording, absent, random);
        if (!asked) continue;
        questions.push_back(*std::move(asked));
        image_of.push_back(images.size());
        shows.push_back(absl::StrJoin(names, " | "));
      }
      images.push_back(std::move(scene.image));
    }
    absl::StatusOr<std::vector<EncodedImage>> encoded = captioner.family.Encode(images);
    if (!encoded.ok()) return encoded.status();
    std::vector<EncodedImage> pictures;
    std::vector<std::string> instructions;
    for (size_t i = 0; i < questions.size(); ++i) {
      pictures.push_back((*encoded)[image_of[i]]);
      instructions.push_back(questions[i].question);
    }
    absl::StatusOr<std::vector<std::string>> answers =
        GreedyAnswers(captioner.model, captioner.tokenizer, captioner.family, pictures, instructions);
    if (!answers.ok()) return answers.status();
    for (size_t i = 0; i < questions.size(); ++i) {
      const std::string said = NormalizedAnswer((*answers)[i]);
      const bool right = std::any_of(questions[i].accepted.begin(), questions[i].accepted.end(),
                                     [&](const std::string& good) { return NormalizedAnswer(good) == said; });
      QuestionScore& score = (i % 2 == 0 ? report.trained : report.held_out)[static_cast<size_t>(questions[i].kind)];
      ++score.asked;
      score.right += right;
      if (right) continue;
      report.wrong.push_back(
          {absl::StrCat(shows[i], ": ", questions[i].question), (*answers)[i], pictures[i].reading, false});
    }
  }
  return report;
}

absl::StatusOr<std::vector<CaptionJudgement>> EvaluateStamps(
    const CaptionerUnderTest& captioner, const PictureLibrary& library,
    const std::map<std::string, std::vector<std::string>>& accepted, int64_t scenes_each, uint64_t seed) {
  SceneOptions options;
  options.augmentation = Augmentation::kMild;
  const std::vector<cv::Mat> no_photos;
  const SceneComposer composer(library, no_photos, options);
  RandomSource random(seed);
  std::vector<vision::Image> images;
  std::vector<CaptionJudgement> judgements;
  for (size_t i = 0; i < library.cutouts().size(); ++i) {
    if (!accepted.contains(library.cutouts()[i].path)) continue;
    for (int64_t repeat = 0; repeat < scenes_each; ++repeat) {
      images.push_back(composer.Compose(random, static_cast<int64_t>(i)).image);
      judgements.push_back({library.cutouts()[i].path, "", "", false});
    }
  }
  const absl::Status status = CaptionInBatches(captioner, images, judgements);
  if (!status.ok()) return status;
  for (CaptionJudgement& judgement : judgements) {
    for (const std::string& word : accepted.at(judgement.picture)) judgement.right |= Mentions(judgement.caption, word);
  }
  return judgements;
}

absl::StatusOr<std::vector<CaptionJudgement>> EvaluatePhotos(
    const CaptionerUnderTest& captioner, const std::filesystem::path& folder,
    const std::map<std::string, std::vector<std::string>>& accepted) {
  std::vector<vision::Image> images;
  std::vector<CaptionJudgement> judgements;
  for (const auto& [name, words] : accepted) {
    std::ifstream file(folder / name, std::ios::binary);
    if (!file)
      return absl::NotFoundError(
          absl::StrCat("the photograph ", (folder / name).string(), " is missing; run setup/photos.py"));
    std::ostringstream bytes;
    bytes << file.rdbuf();
    absl::StatusOr<vision::Image> image = vision::DecodeImage(bytes.str());
    if (!image.ok()) return absl::InvalidArgumentError(absl::StrCat(name, ": ", image.status().message()));
    images.push_back(*std::move(image));
    judgements.push_back({name, "", "", false});
  }
  const absl::Status status = CaptionInBatches(captioner, images, judgements);
  if (!status.ok()) return status;
  for (CaptionJudgement& judgement : judgements) {
    for (const std::string& word : accepted.at(judgement.picture)) judgement.right |= Mentions(judgement.caption, word);
  }
  return judgements;
}

absl::StatusOr<std::map<std::string, std::vector<std::string>>> ReadAccepted(const std::filesystem::path& table) {
  std::ifstream file(table);
  if (!file) return absl::NotFoundError(absl::StrCat("the table ", table.string(), " cannot be read"));
  std::map<std::string, std::vector<std::string>> accepted;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    const std::vector<std::string> fields = absl::StrSplit(line, '\t');
    for (const auto& word : absl::StrSplit(fields.back(), absl::ByAnyChar(",|")))
      accepted[fields[0]].push_back(std::string(absl::StripAsciiWhitespace(word)));
  }
  return accepted;
}

}  // namespace blazon::service
