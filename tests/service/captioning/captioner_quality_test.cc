// How well the committed captioner does on pictures and compositions that it never saw, as it is served (4-bit weights,
// greedy text). The tables that it prints are the figures of assets/captioner/README.md.
//
// For development: BLAZON_CAPTIONER=FILE measures other weights, BLAZON_SEED=N draws other scenes, BLAZON_STAMPS=TABLE
// takes other stamps (tests/reference/dev_stamps.tsv), BLAZON_VQA_SCENES=N asks about so many scenes (1000: the card).
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <set>
#include <string>

#include "service/checkpoint/image_encoder_loader.h"
#include "service/checkpoint/language_model_loader.h"
#include "service/families/captioner_family.h"
#include "service/training/evaluate_captioner.h"

namespace blazon::service {
namespace {

const std::filesystem::path kRoot = BLAZON_SOURCE_DIR;
const std::filesystem::path kStamps = "/usr/share/tuxpaint/stamps";  // Debian's tuxpaint-stamps-default
constexpr int64_t kScenes = 500;
constexpr uint64_t kSceneSeed = 40961;  // training uses 1 to 100
constexpr int64_t kScenesOfEachStamp = 3;
constexpr uint64_t kQuestionSeed = 52361;
constexpr int64_t kQuestionsOfEachScene = 3;

std::string Setting(const char* name, const std::string& otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : value;
}
uint64_t SceneSeed() { return std::stoull(Setting("BLAZON_SEED", std::to_string(kSceneSeed))); }

class CaptionerQuality : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    auto language = LoadLanguageModel(kRoot / "models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf");
    ASSERT_TRUE(language.ok()) << language.status();
    language_ = new LoadedLanguageModel(*std::move(language));
    auto encoder = LoadImageEncoder(kRoot / "models/efficientnet-lite0");
    ASSERT_TRUE(encoder.ok()) << encoder.status();
    auto family = LoadCaptionerFamily(Setting("BLAZON_CAPTIONER", kRoot / "assets/captioner/captioner.safetensors"),
                                      *encoder, *language_->tokenizer, *language_->model, *language_->digest.Get());
    ASSERT_TRUE(family.ok()) << family.status();
    family_ = new std::shared_ptr<const VisionLanguageFamily>(*family);
  }
  static void TearDownTestSuite() {
    delete family_;
    delete language_;
  }
  void SetUp() override {
    if (family_ == nullptr) GTEST_FAIL() << "the captioner did not load";
  }

  // The stamps that training may see.
  static absl::StatusOr<PictureLibrary> KnownStamps() {
    auto held_out = ReadExclusions(kRoot / "tests/reference/heldout_stamps.tsv", "stamps");
    if (!held_out.ok()) return held_out.status();
    auto development = ReadExclusions(kRoot / "tests/reference/dev_stamps.tsv", "stamps");
    if (!development.ok()) return development.status();
    held_out->merge(*development);
    return PictureLibrary::Load(kRoot / "assets/captioner/pictures.tsv", {{"stamps", kStamps}}, *held_out);
  }

  static CaptionerUnderTest Captioner() { return {*language_->model, *language_->tokenizer, **family_}; }

  // Prints each judgement and returns the share that is right.
  static double Print(const char* title, const std::vector<CaptionJudgement>& judgements) {
    int64_t right = 0;
    for (const CaptionJudgement& judgement : judgements) {
      right += judgement.right;
      std::printf("  %-5s %-45s %s\n", judgement.right ? "right" : "WRONG", judgement.picture.c_str(),
                  judgement.caption.c_str());
    }
    const double share = static_cast<double>(right) / static_cast<double>(judgements.size());
    std::printf("%s: %ld of %zu right (%.1f %%)\n", title, right, judgements.size(), 100 * share);
    return share;
  }

  static LoadedLanguageModel* language_;
  static std::shared_ptr<const VisionLanguageFamily>* family_;
};
LoadedLanguageModel* CaptionerQuality::language_ = nullptr;
std::shared_ptr<const VisionLanguageFamily>* CaptionerQuality::family_ = nullptr;

TEST_F(CaptionerQuality, NamesKnownObjectsAndTheirPlacesInNewScenes) {
  auto library = KnownStamps();
  ASSERT_TRUE(library.ok()) << library.status();
  auto report = EvaluateScenes(Captioner(), *library, {}, kScenes, SceneSeed());
  ASSERT_TRUE(report.ok()) << report.status();
  for (const CaptionJudgement& judgement : report->wrong) {
    std::printf("  WRONG %-45s %s\n", judgement.picture.c_str(), judgement.caption.c_str());
  }
  auto share = [](const char* what, int64_t right, int64_t all) {
    const double value = static_cast<double>(right) / static_cast<double>(all);
    std::printf("%-58s %4ld of %4ld (%.1f %%)\n", what, right, all, 100 * value);
    return value;
  };
  std::printf("%ld new scenes of known stamps, seed %lu\n", kScenes, SceneSeed());
  EXPECT_GE(share("objects named", report->named, report->objects), 0.94);
  EXPECT_GE(share("left and right: both named and in their places", report->relations_right, report->relations), 0.93);
  EXPECT_GE(share("colours of drawn shapes", report->colours_right, report->colours), 0.60);
  EXPECT_GE(share("number of objects", report->counts_right, report->counts), 0.60);
  EXPECT_GE(share("background's colour or pattern, single objects", report->backgrounds_right, report->backgrounds),
            0.93);
}

TEST_F(CaptionerQuality, AnswersQuestionsAboutNewScenes) {
  auto library = KnownStamps();
  ASSERT_TRUE(library.ok()) << library.status();
  const int64_t scenes = std::stoll(Setting("BLAZON_VQA_SCENES", "30"));
  const uint64_t seed = std::stoull(Setting("BLAZON_SEED", std::to_string(kQuestionSeed)));
  auto report = EvaluateQuestions(Captioner(), *library, {}, scenes, kQuestionsOfEachScene, seed);
  ASSERT_TRUE(report.ok()) << report.status();
  for (const CaptionJudgement& judgement : report->wrong) {
    std::printf("  WRONG %-70s %s [%s]\n", judgement.picture.c_str(), judgement.caption.c_str(),
                judgement.reading.c_str());
  }
  std::printf("%ld new scenes of known stamps, seed %lu\n", scenes, seed);
  const auto percent = [](const QuestionScore& score) {
    return score.asked == 0 ? 0.0 : 100 * static_cast<double>(score.right) / static_cast<double>(score.asked);
  };
  QuestionScore all, unheard;
  for (size_t kind = 0; kind < kQuestionKinds; ++kind) {
    const QuestionScore &trained = report->trained[kind], &held_out = report->held_out[kind];
    const QuestionScore both{trained.asked + held_out.asked, trained.right + held_out.right};
    std::printf("%-42s %4ld of %4ld (%5.1f %%); in wordings held out %4ld of %4ld (%5.1f %%)\n",
                Title(static_cast<QuestionKind>(kind)), both.right, both.asked, percent(both), held_out.right,
                held_out.asked, percent(held_out));
    all = {all.asked + both.asked, all.right + both.right};
    unheard = {unheard.asked + held_out.asked, unheard.right + held_out.right};
  }
  std::printf("%-42s %4ld of %4ld (%5.1f %%); in wordings held out %4ld of %4ld (%5.1f %%)\n", "all questions",
              all.right, all.asked, percent(all), unheard.right, unheard.asked, percent(unheard));
  EXPECT_GE(percent(all), 80.0);
  EXPECT_GE(percent(unheard), 78.0);
}

TEST_F(CaptionerQuality, NamesTheNounOrKindOfStampsHeldOutOfTraining) {
  auto accepted = ReadAccepted(Setting("BLAZON_STAMPS", kRoot / "tests/reference/heldout_stamps.tsv"));
  ASSERT_TRUE(accepted.ok()) << accepted.status();
  auto library = PictureLibrary::Load(kRoot / "assets/captioner/pictures.tsv", {{"stamps", kStamps}}, {});
  ASSERT_TRUE(library.ok()) << library.status();
  auto judgements = EvaluateStamps(Captioner(), *library, *accepted, kScenesOfEachStamp, SceneSeed());
  ASSERT_TRUE(judgements.ok()) << judgements.status();
  ASSERT_EQ(judgements->size(), accepted->size() * kScenesOfEachStamp);
  EXPECT_GE(Print("held-out stamps", *judgements), 0.57);
}

TEST_F(CaptionerQuality, NamesWhatIsOnOrdinaryPhotographs) {
  auto accepted = ReadAccepted(kRoot / "tests/reference/photo_set.tsv");
  ASSERT_TRUE(accepted.ok()) << accepted.status();
  ASSERT_GE(accepted->size(), 20U);
  auto judgements = EvaluatePhotos(Captioner(), kRoot / "deps/photos", *accepted);
  ASSERT_TRUE(judgements.ok()) << judgements.status();
  EXPECT_GE(Print("photographs", *judgements), 0.65);
}

}  // namespace
}  // namespace blazon::service
