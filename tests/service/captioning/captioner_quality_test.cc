// How well the committed captioner does on pictures and compositions that it never saw, as it is served (4-bit weights,
// greedy text). The tables that it prints are the figures of assets/captioner/README.md.
#include <gtest/gtest.h>

#include <cstdio>
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

class CaptionerQuality : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    auto language = LoadLanguageModel(kRoot / "models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf");
    ASSERT_TRUE(language.ok()) << language.status();
    language_ = new LoadedLanguageModel(*std::move(language));
    auto encoder = LoadImageEncoder(kRoot / "models/efficientnet-lite0");
    ASSERT_TRUE(encoder.ok()) << encoder.status();
    auto family = LoadCaptionerFamily(kRoot / "assets/captioner/captioner.safetensors", *encoder, *language_->tokenizer,
                                      *language_->model, *language_->digest.Get());
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
  auto held_out = ReadExclusions(kRoot / "tests/reference/heldout_stamps.tsv", "stamps");
  ASSERT_TRUE(held_out.ok()) << held_out.status();
  auto development = ReadExclusions(kRoot / "tests/reference/dev_stamps.tsv", "stamps");
  ASSERT_TRUE(development.ok()) << development.status();
  held_out->merge(*development);
  auto library = PictureLibrary::Load(kRoot / "assets/captioner/pictures.tsv", {{"stamps", kStamps}}, *held_out);
  ASSERT_TRUE(library.ok()) << library.status();
  auto report = EvaluateScenes(Captioner(), *library, {}, kScenes, kSceneSeed);
  ASSERT_TRUE(report.ok()) << report.status();
  for (const CaptionJudgement& judgement : report->wrong) {
    std::printf("  WRONG %-45s %s\n", judgement.picture.c_str(), judgement.caption.c_str());
  }
  auto share = [](const char* what, int64_t right, int64_t all) {
    const double value = static_cast<double>(right) / static_cast<double>(all);
    std::printf("%-58s %4ld of %4ld (%.1f %%)\n", what, right, all, 100 * value);
    return value;
  };
  std::printf("%ld new scenes of known stamps, seed %lu\n", kScenes, kSceneSeed);
  EXPECT_GE(share("objects named", report->named, report->objects), 0.90);
  EXPECT_GE(share("left and right: both named and in their places", report->relations_right, report->relations), 0.90);
  EXPECT_GE(share("colours of drawn shapes", report->colours_right, report->colours), 0.40);
  EXPECT_GE(share("number of objects", report->counts_right, report->counts), 0.40);
  EXPECT_GE(share("background's colour or pattern, single objects", report->backgrounds_right, report->backgrounds),
            0.80);
}

TEST_F(CaptionerQuality, NamesTheNounOrKindOfStampsHeldOutOfTraining) {
  auto accepted = ReadAccepted(kRoot / "tests/reference/heldout_stamps.tsv");
  ASSERT_TRUE(accepted.ok()) << accepted.status();
  auto library = PictureLibrary::Load(kRoot / "assets/captioner/pictures.tsv", {{"stamps", kStamps}}, {});
  ASSERT_TRUE(library.ok()) << library.status();
  auto judgements = EvaluateStamps(Captioner(), *library, *accepted, kScenesOfEachStamp, kSceneSeed);
  ASSERT_TRUE(judgements.ok()) << judgements.status();
  ASSERT_EQ(judgements->size(), accepted->size() * kScenesOfEachStamp);
  EXPECT_GE(Print("held-out stamps", *judgements), 0.50);
}

TEST_F(CaptionerQuality, NamesWhatIsOnOrdinaryPhotographs) {
  auto accepted = ReadAccepted(kRoot / "tests/reference/photo_set.tsv");
  ASSERT_TRUE(accepted.ok()) << accepted.status();
  ASSERT_GE(accepted->size(), 20U);
  auto judgements = EvaluatePhotos(Captioner(), kRoot / "deps/photos", *accepted);
  ASSERT_TRUE(judgements.ok()) << judgements.status();
  EXPECT_GE(Print("photographs", *judgements), 0.50);
}

}  // namespace
}  // namespace blazon::service
