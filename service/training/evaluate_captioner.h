// How well the captioner does on pictures and compositions that it never saw.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "language/language_model.h"
#include "language/tokenizer/tokenizer.h"
#include "service/families/vision_language_family.h"
#include "service/training/caption_grammar.h"
#include "service/training/picture_library.h"
#include "service/training/picture_questions.h"
#include "vision/image.h"

namespace blazon::service {

// Greedy captions, one for each picture, of at most `max_tokens` tokens.
absl::StatusOr<std::vector<std::string>> GreedyCaptions(const language::LanguageModel& model,
                                                        const language::Tokenizer& tokenizer,
                                                        const VisionLanguageFamily& family,
                                                        absl::Span<const EncodedImage> pictures,
                                                        int64_t max_tokens = 24);

// The same, each picture with what is asked of it; instructions: as many as pictures, or none for captions.
absl::StatusOr<std::vector<std::string>> GreedyAnswers(
    const language::LanguageModel& model, const language::Tokenizer& tokenizer, const VisionLanguageFamily& family,
    absl::Span<const EncodedImage> pictures, absl::Span<const std::string> instructions, int64_t max_tokens = 24);

// Whether `caption` holds `phrase`, or its plural, as whole words; upper and lower case alike.
bool Mentions(const std::string& caption, const std::string& phrase);

// The noun by which an object counts as named: a drawn shape's without its colour, which is judged apart.
std::string Noun(const SceneObject& object);

// Whether a caption of two objects side by side says which is where, both by noun (by colour too, when they share it):
// "A pig to the left of a guitar."
bool RelationIsRight(const std::string& caption, const SceneDescription& scene);

// One judged picture.
struct CaptionJudgement {
  std::string picture;  // file, or what the scene shows
  std::string caption;
  std::string reading;  // the tagger's, as the prompt had it
  bool right = false;
};

struct SceneReport {
  int64_t objects = 0, named = 0;              // objects in all scenes; those whose noun the caption has
  int64_t relations = 0, relations_right = 0;  // scenes of two objects side by side; right: both named, in their places
  int64_t colours = 0, colours_right = 0;      // of drawn shapes
  int64_t counts = 0, counts_right = 0;
  int64_t backgrounds = 0, backgrounds_right = 0;  // plain ones of one object
  std::vector<CaptionJudgement> wrong;
};

// A model to be judged.
struct CaptionerUnderTest {
  const language::LanguageModel& model;
  const language::Tokenizer& tokenizer;
  const VisionLanguageFamily& family;
};

// `count` scenes of the library's stamps, mildly varied, composed with `seed`.
absl::StatusOr<SceneReport> EvaluateScenes(const CaptionerUnderTest& captioner, const PictureLibrary& library,
                                           const std::vector<cv::Mat>& photos, int64_t count, uint64_t seed);

struct QuestionScore {
  int64_t asked = 0, right = 0;
};

struct QuestionReport {
  std::array<QuestionScore, kQuestionKinds> trained, held_out;  // by kind, for wordings that training drew from and not
  std::vector<CaptionJudgement> wrong;                          // picture: what it shows, and the question
};

// `each` questions of different kinds about each of `count` scenes as EvaluateScenes composes them, every other one in
// a held-out wording. Right is an answer that NormalizedAnswer finds equal to an accepted one.
absl::StatusOr<QuestionReport> EvaluateQuestions(const CaptionerUnderTest& captioner, const PictureLibrary& library,
                                                 const std::vector<cv::Mat>& photos, int64_t count, int64_t each,
                                                 uint64_t seed);

// Every stamp of `library`, alone, `scenes_each` times; `accepted`: path -> words that count as right.
absl::StatusOr<std::vector<CaptionJudgement>> EvaluateStamps(
    const CaptionerUnderTest& captioner, const PictureLibrary& library,
    const std::map<std::string, std::vector<std::string>>& accepted, int64_t scenes_each, uint64_t seed);

// The files of `folder` that `accepted` names.
absl::StatusOr<std::vector<CaptionJudgement>> EvaluatePhotos(
    const CaptionerUnderTest& captioner, const std::filesystem::path& folder,
    const std::map<std::string, std::vector<std::string>>& accepted);

// Lines of a table: the first field, and the words of the last, separated by commas or bars.
absl::StatusOr<std::map<std::string, std::vector<std::string>>> ReadAccepted(const std::filesystem::path& table);

}  // namespace blazon::service
