#include "service/training/captioner_trainer.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "language/training/adamw.h"
#include "service/training/caption_loss.h"
#include "service/training/caption_samples.h"
#include "service/training/imagenet_names.h"
#include "service/training/picture_questions.h"

namespace blazon::service {
namespace {

using Clock = std::chrono::steady_clock;

double Seconds(Clock::time_point since) { return std::chrono::duration<double>(Clock::now() - since).count(); }

at::Tensor Rows(const at::Tensor& table, const std::vector<int64_t>& indices) {
  return table.index_select(0, at::tensor(indices, at::kLong)).to(at::kFloat);
}

// The classifier's rows, read off its answers to unit features: [K, C] and [K].
std::pair<at::Tensor, at::Tensor> ClassifierRows(const vision::ImageEncoder& encoder) {
  const int64_t channels = encoder.dimension();
  const at::Tensor bias = encoder.Classify(at::zeros({1, channels, 1, 1})).flatten();
  const at::Tensor rows =
      encoder.Classify(at::eye(channels).view({channels, channels, 1, 1})).sub(bias).t().contiguous();
  return {rows, bias};
}

// A line with speed and the time left, at most every 5 seconds.
class Progress {
 public:
  Progress(std::string stage, int64_t steps, int64_t batch, const TrainingLog& log)
      : stage_(std::move(stage)), steps_(steps), batch_(batch), log_(log) {}

  void Step(int64_t step, double loss) {
    mean_ = step == 1 ? loss : 0.97 * mean_ + 0.03 * loss;
    if (step != steps_ && Seconds(last_) < 5) return;
    last_ = Clock::now();
    const double elapsed = Seconds(start_);
    log_(absl::StrFormat("%s: step %d of %d, loss %.3f, %.1f samples/s, %.0f s left", stage_, step, steps_, mean_,
                         static_cast<double>(step * batch_) / elapsed,
                         elapsed / static_cast<double>(step) * static_cast<double>(steps_ - step)));
  }

 private:
  std::string stage_;
  int64_t steps_, batch_;
  const TrainingLog& log_;
  double mean_ = 0;
  Clock::time_point start_ = Clock::now(), last_ = Clock::now();
};

constexpr const char* kDivergedMessage = "the loss is not a finite number; lower the learning rates";

// What stage 2 looks up by name.
std::map<std::string, int64_t> ConceptIndex(const std::vector<Concept>& concepts) {
  std::map<std::string, int64_t> index;
  for (size_t i = 0; i < concepts.size(); ++i) index.emplace(concepts[i].name, static_cast<int64_t>(i));
  return index;
}

}  // namespace

void BuildConcepts(const std::vector<std::string>& labels, const std::map<std::string, std::string>& names,
                   std::vector<Concept>& concepts, std::vector<int64_t>& row_concepts) {
  std::map<std::string, int64_t> index;
  auto add = [&](const Concept& concept_) {
    const auto [place, added] = index.try_emplace(concept_.name, static_cast<int64_t>(concepts.size()));
    if (added)
      concepts.push_back(concept_);
    else if (!concept_.kind.empty())
      concepts[static_cast<size_t>(place->second)].kind = concept_.kind;
    row_concepts.push_back(place->second);
  };
  for (size_t i = 0; i < labels.size(); ++i) add(ImageNetConcept(static_cast<int64_t>(i), labels[i]));
  for (const auto& [name, kind] : names) add({name, kind});
  for (const std::string& name : ShapeNames()) add({name, ""});
}

void EditFeatures(const vision::ImageEncoder& encoder, int64_t count, uint64_t seed, TrainingSet& set) {
  const at::NoGradGuard no_grad;
  RandomSource random(seed);
  const auto [rows, bias] = ClassifierRows(encoder);
  at::Tensor directions = rows.sub(rows.mean(0, true));
  directions = directions.div(directions.norm(2, {1}, true));
  const int64_t classes = rows.size(0), batch = 200;
  std::vector<at::Tensor> parts;
  for (int64_t done = 0; done < count; done += batch) {
    std::vector<int64_t> wanted, first, second, crop;
    std::vector<float> target, mix, factors;
    for (int64_t i = 0; i < batch; ++i) {
      wanted.push_back(random.Below(classes));
      first.push_back(random.Below(set.scenes.cells.size(0)));
      second.push_back(random.Below(set.scenes.cells.size(0)));
      crop.push_back(set.crops.cells.defined() ? random.Below(set.crops.cells.size(0)) : 0);
      target.push_back(static_cast<float>(random.Uniform(0.35, 0.98)));
      mix.push_back(set.crops.cells.defined() && random.Chance(0.7) ? 1.0F : 0.0F);
      double sum = 0;
      for (int64_t cell = 0; cell < kCells - 1; ++cell) {
        factors.push_back(static_cast<float>(random.Uniform(0.4, 1.6)));
        sum += factors.back();
      }
      factors.push_back(static_cast<float>(sum / (kCells - 1)));
    }
    set.edited_class.insert(set.edited_class.end(), wanted.begin(), wanted.end());
    at::Tensor base = Rows(set.scenes.cells, first).add(Rows(set.scenes.cells, second)).mul(0.4);  // [b, kCells, C]
    if (set.crops.cells.defined())
      base = at::where(at::tensor(mix).view({batch, 1, 1}).gt(0.5), Rows(set.crops.cells, crop), base);
    const at::Tensor index = at::tensor(wanted, at::kLong).view({batch, 1});
    const at::Tensor step =
        directions.index_select(0, index.flatten()).unsqueeze(1).mul(at::tensor(factors).view({batch, kCells, 1}));
    at::Tensor low = at::zeros({batch, 1, 1}), high = at::full({batch, 1, 1}, 60.0);
    at::Tensor moved;
    for (int round = 0; round < 10; ++round) {
      const at::Tensor middle = low.add(high).mul(0.5);
      moved = base.add(step.mul(middle)).clamp(0, 6);
      moved.select(1, kCells - 1).copy_(moved.slice(1, 0, kCells - 1).mean(1));
      const at::Tensor sure =
          at::softmax(at::linear(moved.select(1, kCells - 1), rows, bias), 1).gather(1, index);  // [b, 1]
      const at::Tensor enough = sure.ge(at::tensor(target).view({batch, 1})).unsqueeze(2);
      high = at::where(enough, middle, high);
      low = at::where(enough, low, middle);
    }
    parts.push_back(moved.to(at::kHalf));
  }
  set.edited = at::cat(parts);
}

absl::StatusOr<Tagger> TrainTagger(const vision::ImageEncoder& encoder, const TrainingSet& set,
                                   const std::vector<Concept>& concepts, const std::vector<int64_t>& row_concepts,
                                   bool with_reserved, int64_t steps, uint64_t seed, const TrainingLog& log,
                                   const TrainingStop& stop) {
  const int64_t classes = static_cast<int64_t>(encoder.labels().size()),
                all = static_cast<int64_t>(row_concepts.size());
  std::map<std::string, int64_t> row;  // name -> added row
  for (int64_t i = classes; i < all; ++i)
    row.emplace(concepts[static_cast<size_t>(row_concepts[static_cast<size_t>(i)])].name, i);

  // One line for each region of a scene that has an answer: features, and up to two rows that share the target.
  std::vector<at::Tensor> parts;
  std::vector<int64_t> first, second;
  for (int64_t begin = 0; begin < set.scenes.cells.size(0); begin += 1000) {
    const at::Tensor regions =
        PoolRegions(set.scenes.cells.slice(0, begin, begin + 1000).to(at::kFloat));  // [b, kRegions, C]
    std::vector<int64_t> picked;
    for (int64_t i = 0; i < regions.size(0); ++i) {
      const size_t scene = static_cast<size_t>(begin + i);
      if (set.reserved[scene] && !with_reserved) continue;
      const SceneDescription& description = set.scenes.descriptions[scene];
      const int64_t left = row.at(description.objects[0].name);
      auto add = [&](int64_t region, int64_t a, int64_t b) {
        picked.push_back(i * kRegions + region);
        first.push_back(a);
        second.push_back(b);
      };
      if (description.objects.size() == 1) {
        add(0, left, left);
      } else {
        const int64_t right = row.at(description.objects[1].name);
        const int64_t place = description.layout == Layout::kSideBySide ? 1 : 3;
        add(0, left, right);
        add(place, left, left);
        add(place + 1, right, right);
      }
    }
    parts.push_back(regions.flatten(0, 1).index_select(0, at::tensor(picked, at::kLong)));
  }
  const at::Tensor features = at::cat(parts);  // [M, C]
  const at::Tensor first_rows = at::tensor(first, at::kLong), second_rows = at::tensor(second, at::kLong);
  // Photographs: the classifier's own answer, and nothing for the added rows.
  std::vector<at::Tensor> photo_parts = {set.edited.select(1, kCells - 1)};
  if (set.crops.cells.defined())
    photo_parts.push_back(PoolRegions(set.crops.cells.to(at::kFloat)).flatten(0, 1).to(at::kHalf));
  const at::Tensor photos = at::cat(photo_parts);  // fp16 [P, C]

  const auto [class_rows, class_bias] = ClassifierRows(encoder);
  const at::Tensor scene_logits = at::linear(features, class_rows, class_bias).to(at::kHalf);  // [M, K]
  at::Tensor weight = at::zeros({all - classes, encoder.dimension()}).requires_grad_(true);
  at::Tensor bias = at::zeros({all - classes}).requires_grad_(true);
  language::AdamW optimiser({{{weight}, 1.5e-3, 0.02}, {{bias}, 1.5e-3, 0.0}});
  RandomSource random(seed);
  at::Generator dropout = at::detail::createCPUGenerator(seed);
  constexpr int64_t kScenes = 384, kPhotos = 128;
  Progress progress("tagger", steps, kScenes + kPhotos, log);
  for (int64_t step = 1; step <= steps && !stop(); ++step) {
    std::vector<int64_t> lines, pictures;
    for (int64_t i = 0; i < kScenes; ++i) lines.push_back(random.Below(features.size(0)));
    for (int64_t i = 0; i < kPhotos; ++i) pictures.push_back(random.Below(photos.size(0)));
    const at::Tensor index = at::tensor(lines, at::kLong);
    const at::Tensor photo_features = Rows(photos, pictures);
    const at::Tensor photo_logits = at::linear(photo_features, class_rows, class_bias);
    at::Tensor x = at::cat({features.index_select(0, index), photo_features});
    // Dropout of features: no picture is known by a few of them.
    x = x.mul(at::rand(x.sizes(), dropout, at::kFloat).ge(0.15)).mul(1 / 0.85);
    const at::Tensor own = at::cat({scene_logits.index_select(0, index).to(at::kFloat), photo_logits});
    const at::Tensor log_probabilities = at::log_softmax(at::cat({own, at::linear(x, weight, bias)}, 1), 1);
    const at::Tensor scenes = log_probabilities.slice(0, 0, kScenes);
    const at::Tensor scene_loss = scenes.gather(1, first_rows.index_select(0, index).unsqueeze(1))
                                      .add(scenes.gather(1, second_rows.index_select(0, index).unsqueeze(1)))
                                      .mean()
                                      .mul(-0.5);
    const at::Tensor photo_loss = at::softmax(photo_logits, 1)
                                      .mul(log_probabilities.slice(0, kScenes).slice(1, 0, classes))
                                      .sum()
                                      .div(-static_cast<double>(kPhotos));
    const at::Tensor loss = scene_loss.add(photo_loss.mul(0.5));
    loss.backward();
    if (!std::isfinite(
            optimiser.Step(language::CosineFactor(static_cast<double>(step) / static_cast<double>(steps))))) {
      return absl::OutOfRangeError(kDivergedMessage);
    }
    progress.Step(step, loss.item<double>());
  }
  return Tagger::Create(concepts, row_concepts, weight.detach(), bias.detach());
}

absl::Status AlignConnector(const vision::ImageEncoder& encoder, const language::LanguageModel& model,
                            const language::Tokenizer& tokenizer, const TrainingSet& set,
                            const CaptionerWeights& weights, int64_t steps, uint64_t seed, const TrainingLog& log,
                            const TrainingStop& stop) {
  // The vocabulary: concepts, then the words of backgrounds; each the mean of its tokens' embeddings.
  std::vector<std::string> words;
  for (const Concept& concept_ : weights.tagger.concepts()) words.push_back(concept_.name);
  std::set<std::string> background_words;
  for (const SceneDescription& scene : set.scenes.descriptions) {
    for (const auto& word : absl::StrSplit(scene.background, " and ")) background_words.insert(std::string(word));
  }
  std::map<std::string, int64_t> index = ConceptIndex(weights.tagger.concepts());
  std::map<std::string, int64_t> background_index;
  for (const std::string& word : background_words) {
    background_index[word] = static_cast<int64_t>(words.size());
    words.push_back(word);
  }
  std::vector<at::Tensor> means;
  for (const std::string& word : words) {
    means.push_back(
        model.Embed(at::tensor(tokenizer.Encode(absl::StrCat(" ", word)), at::kLong)).to(at::kFloat).mean(0));
  }
  const at::Tensor embeddings = at::stack(means);                       // [A, D]
  const at::Tensor centre = embeddings.mean(0, true);                   // [1, D]
  const double length = embeddings.norm(2, {1}).mean().item<double>();  // of a typical embedding
  at::Tensor goals = embeddings.sub(centre);
  goals = goals.div(goals.norm(2, {1}, true)).t().contiguous();  // [D, A]
  const int64_t vocabulary = static_cast<int64_t>(words.size()),
                classes = static_cast<int64_t>(encoder.labels().size());
  const at::Tensor class_concept = at::tensor(
      std::vector<int64_t>(weights.tagger.row_concepts().begin(), weights.tagger.row_concepts().begin() + classes),
      at::kLong);

  std::vector<at::Tensor> parameters;
  for (const auto& [name, tensor] : weights.projector.tensors()) {
    parameters.push_back(tensor);
    parameters.back().requires_grad_(true);
  }
  language::AdamW optimiser({{parameters, 1e-3, 0.02}});
  std::vector<int64_t> usable;
  for (int64_t i = 0; i < set.scenes.cells.size(0); ++i) {
    if (!set.reserved[static_cast<size_t>(i)]) usable.push_back(i);
  }
  RandomSource random(seed);
  constexpr int64_t kScenes = 48, kPhotos = 16;
  Progress progress("alignment", steps, kScenes + kPhotos, log);
  for (int64_t step = 1; step <= steps && !stop(); ++step) {
    std::vector<int64_t> scenes, photos;
    at::Tensor targets = at::zeros({kScenes + kPhotos, kCells, vocabulary});
    auto access = targets.accessor<float, 3>();
    for (int64_t i = 0; i < kScenes; ++i) {
      scenes.push_back(random.Pick(usable));
      const SceneDescription& scene = set.scenes.descriptions[static_cast<size_t>(scenes.back())];
      std::vector<int64_t> backgrounds;
      for (const auto& word : absl::StrSplit(scene.background, " and "))
        backgrounds.push_back(background_index.at(std::string(word)));
      for (int64_t cell = 0; cell < kCells; ++cell) {
        float left = 1;
        for (const SceneObject& object : scene.objects) {
          const float share = cell == kCells - 1 ? 0.8F / static_cast<float>(scene.objects.size())
                                                 : std::min(left, 1.6F * object.coverage[static_cast<size_t>(cell)]);
          access[i][cell][index.at(object.name)] += share;
          left -= share;
        }
        for (const int64_t background : backgrounds)
          access[i][cell][background] += left / static_cast<float>(backgrounds.size());
      }
    }
    at::Tensor photo_cells;
    for (int64_t i = 0; i < kPhotos; ++i) photos.push_back(random.Below(set.edited.size(0)));
    photo_cells = Rows(set.edited, photos);  // [p, kCells, C]
    const at::Tensor answer =
        at::softmax(encoder.Classify(photo_cells.select(1, kCells - 1).unsqueeze(2).unsqueeze(3)), 1);  // [p, K]
    targets.slice(0, kScenes)
        .copy_(at::zeros({kPhotos, vocabulary})
                   .index_add(1, class_concept, answer)
                   .unsqueeze(1)
                   .expand({kPhotos, kCells, vocabulary}));

    const at::Tensor tokens =
        weights.projector.Forward(at::cat({Rows(set.scenes.cells, scenes), photo_cells}));  // [b, kCells, D]
    const at::Tensor offset = tokens.sub(centre);
    const at::Tensor logits = at::matmul(offset.div(offset.norm(2, {2}, true)), goals).mul(14.0);
    const at::Tensor match = at::log_softmax(logits, 2).mul(targets).sum({2}).mean().neg();
    const at::Tensor size = tokens.norm(2, {2}).div(length).sub(1).square().mean();
    const at::Tensor loss = match.add(size);
    loss.backward();
    if (!std::isfinite(
            optimiser.Step(language::CosineFactor(static_cast<double>(step) / static_cast<double>(steps))))) {
      return absl::OutOfRangeError(kDivergedMessage);
    }
    progress.Step(step, loss.item<double>());
  }
  return absl::OkStatus();
}

absl::Status TrainCaptions(const std::shared_ptr<const vision::ImageEncoder>& encoder,
                           const language::LanguageModel& model, const language::Tokenizer& tokenizer,
                           const TrainingSet& set, const CaptionerWeights& weights, const CaptionStageOptions& options,
                           const TrainingLog& log, const TrainingStop& stop,
                           const std::function<void(int64_t)>& evaluate) {
  absl::StatusOr<std::shared_ptr<CaptionerFamily>> family =
      CaptionerFamily::Create(weights, encoder, tokenizer, model.config().width);
  if (!family.ok()) return family.status();
  const language::TokenId end = *tokenizer.FindToken("<|im_end|>");

  language::AdamW optimiser = CaptionOptimizer(weights.projector, options.connector_rate, *weights.adapter,
                                               options.adapter_rate, options.weight_decay);
  CaptionSampleSource source(*encoder, set, weights.tagger, options);
  Progress progress("captions", options.steps, options.batch, log);
  for (int64_t step = 1; step <= options.steps && !stop(); ++step) {
    std::vector<CaptionSampleSource::Sample> samples;
    std::vector<at::Tensor> cells;
    std::vector<std::string> colours;
    for (int64_t i = 0; i < options.batch; ++i) {
      samples.push_back(source.Next());
      cells.push_back(samples.back().cells);
      colours.push_back(samples.back().colours);
    }
    std::vector<EncodedImage> encoded =
        (*family)->EncodeCells(at::stack(cells), colours, Tagger::Manner::kFull);  // for the readings
    std::vector<CaptionSample> learned;
    for (int64_t i = 0; i < options.batch; ++i) {
      EncodedImage& image = encoded[static_cast<size_t>(i)];
      if (source.random().Chance(options.reading_dropout)) image.reading = "unclear";
      absl::StatusOr<language::Prompt> prompt =
          (*family)->BuildPrompt({&image, 1}, samples[static_cast<size_t>(i)].instruction);
      if (!prompt.ok()) return prompt.status();
      learned.push_back({.cells = cells[static_cast<size_t>(i)],
                         .before = std::get<std::vector<language::TokenId>>((*prompt)[0]),
                         .after = std::get<std::vector<language::TokenId>>((*prompt)[2]),
                         .caption = tokenizer.Encode(samples[static_cast<size_t>(i)].caption)});
      for (const PictureQuestion& asked : samples[static_cast<size_t>(i)].questions) {
        prompt = (*family)->BuildPrompt({&image, 1}, asked.question);
        if (!prompt.ok()) return prompt.status();
        learned.back().more.push_back(
            {std::get<std::vector<language::TokenId>>((*prompt)[2]), tokenizer.Encode(asked.answer)});
      }
    }
    const at::Tensor loss = CaptionLoss(model, weights.projector, *weights.adapter, learned, end);
    loss.backward();
    if (!std::isfinite(
            optimiser.Step(language::CosineFactor(static_cast<double>(step) / static_cast<double>(options.steps))))) {
      return absl::OutOfRangeError(kDivergedMessage);
    }
    progress.Step(step, loss.item<double>());
    if (options.evaluate_every > 0 && step % options.evaluate_every == 0) evaluate(step);
  }
  return absl::OkStatus();
}

}  // namespace blazon::service
