#include "service/training/training_log.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "service/training/training_checkpoints.h"

namespace blazon::service {
namespace {

constexpr char kHeader[] = "step,loss,rate,gradient,tokens,held_out";  // further figures, seconds

// 17 digits: every double comes back as it was.
std::string Line(const TrainingRow& row) {
  std::string figures;
  for (const double figure : row.figures) absl::StrAppend(&figures, absl::StrFormat("%.17g,", figure));
  return absl::StrFormat("%d,%.17g,%.17g,%.17g,%d,%s,%s%.3f\n", row.step, row.loss, row.rate, row.gradient, row.tokens,
                         row.held_out ? absl::StrFormat("%.17g", *row.held_out) : "", figures, row.seconds);
}

std::optional<TrainingRow> ParseLine(const std::string& line, size_t figures) {
  const std::vector<std::string> cells = absl::StrSplit(line, ',');
  TrainingRow row;
  if (cells.size() != 7 + figures || !absl::SimpleAtoi(cells[0], &row.step) || !absl::SimpleAtod(cells[1], &row.loss) ||
      !absl::SimpleAtod(cells[2], &row.rate) || !absl::SimpleAtod(cells[3], &row.gradient) ||
      !absl::SimpleAtoi(cells[4], &row.tokens) || !absl::SimpleAtod(cells.back(), &row.seconds)) {
    return std::nullopt;
  }
  row.figures.resize(figures);
  for (size_t i = 0; i < figures; ++i) {
    if (!absl::SimpleAtod(cells[6 + i], &row.figures[i])) return std::nullopt;
  }
  if (double value = 0; !cells[5].empty() && absl::SimpleAtod(cells[5], &value)) row.held_out = value;
  return row;
}

}  // namespace

std::string LossCurve(const std::vector<TrainingRow>& rows) {
  constexpr double kWidth = 720, kHeight = 400, kLeft = 60, kRight = 16, kTop = 16, kBottom = 40;
  double low = INFINITY, high = -INFINITY, last = 1;
  const auto widen = [&](double value) {
    if (!std::isfinite(value)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  };
  for (const TrainingRow& row : rows) {
    widen(row.loss);
    if (row.held_out) widen(*row.held_out);
    last = std::max(last, static_cast<double>(row.step));
  }
  if (!(high > low)) {
    low = std::isfinite(low) ? low - 0.5 : 0;
    high = low + 1;
  }
  const auto x = [&](double step) { return kLeft + (kWidth - kLeft - kRight) * step / last; };
  const auto y = [&](double loss) { return kTop + (kHeight - kTop - kBottom) * (high - loss) / (high - low); };
  std::string svg = absl::StrFormat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" font-family=\"sans-serif\" "
      "font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
      kWidth, kHeight);
  for (int i = 0; i <= 4; ++i) {
    const double loss = low + (high - low) * i / 4, step = last * i / 4;
    absl::StrAppend(&svg, absl::StrFormat("<path d=\"M%.1f %.1fH%.1f\" stroke=\"#ddd\"/><text x=\"%.1f\" y=\"%.1f\" "
                                          "text-anchor=\"end\">%.3g</text>\n",
                                          kLeft, y(loss), kWidth - kRight, kLeft - 6, y(loss) + 4, loss));
    absl::StrAppend(&svg, absl::StrFormat("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%.0f</text>\n", x(step),
                                          kHeight - kBottom + 18, step));
  }
  // The steps' losses thin, their running mean and the held-out loss thick.
  std::string thin, mean, held_out;
  double smooth = 0, weight = 0;
  for (const TrainingRow& row : rows) {
    const double step = static_cast<double>(row.step);
    if (row.held_out && std::isfinite(*row.held_out))
      absl::StrAppend(&held_out, absl::StrFormat("%.1f,%.1f ", x(step), y(*row.held_out)));
    if (!std::isfinite(row.loss)) continue;
    smooth = 0.95 * smooth + 0.05 * row.loss;
    weight = 0.95 * weight + 0.05;
    absl::StrAppend(&thin, absl::StrFormat("%.1f,%.1f ", x(step), y(row.loss)));
    absl::StrAppend(&mean, absl::StrFormat("%.1f,%.1f ", x(step), y(smooth / weight)));
  }
  const auto line = [&](const std::string& points, const char* colour, double width) {
    if (points.empty()) return;
    absl::StrAppend(
        &svg, absl::StrFormat("<polyline points=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"%.1f\"/>\n", points,
                              colour, width));
  };
  line(thin, "#9cf", 1);
  line(mean, "#05a", 2);
  line(held_out, "#c40", 2);
  absl::StrAppend(&svg, absl::StrFormat("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\"><tspan fill=\"#05a\">loss"
                                        "</tspan>%s by step</text>\n</svg>\n",
                                        kWidth - kRight, kHeight - 6,
                                        held_out.empty() ? "" : " and <tspan fill=\"#c40\">held-out loss</tspan>"));
  return svg;
}

absl::StatusOr<TrainingLog> TrainingLog::Open(const std::filesystem::path& folder, int64_t step,
                                              const std::vector<std::string>& figures) {
  const std::filesystem::path path = folder / "log.csv";
  std::vector<TrainingRow> rows;
  if (step > 0) {
    std::ifstream stream(path);
    for (std::string line; std::getline(stream, line);) {
      const std::optional<TrainingRow> row = ParseLine(line, figures.size());
      if (row && row->step <= step) rows.push_back(*row);
    }
  }
  std::string text = kHeader;
  for (const std::string& name : figures) absl::StrAppend(&text, ",", name);
  text += ",seconds\n";
  for (const TrainingRow& row : rows) text += Line(row);
  if (absl::Status status = WriteTextFile(path, text); !status.ok()) return status;
  File file(std::fopen(path.c_str(), "ae"), std::fclose);
  if (file == nullptr) return absl::UnavailableError(absl::StrCat(path.string(), " cannot be opened"));
  absl::StatusOr<EventFile> events = EventFile::Create(folder, step + 1);
  if (!events.ok()) return events.status();
  TrainingLog log(folder, std::move(rows), std::move(file), *std::move(events));
  log.names_ = figures;
  return log;
}

absl::Status TrainingLog::Add(const TrainingRow& row) {
  rows_.push_back(row);
  const std::string line = Line(row);
  if (std::fwrite(line.data(), 1, line.size(), file_.get()) != line.size() || std::fflush(file_.get()) != 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat((folder_ / "log.csv").string(), " could not be written; is the disk full?"));
  }
  std::vector<std::pair<std::string_view, double>> values = {
      {"loss", row.loss}, {"learning_rate", row.rate}, {"gradient_norm", row.gradient}};
  if (row.held_out) values.emplace_back("held_out_loss", *row.held_out);
  for (size_t i = 0; i < std::min(names_.size(), row.figures.size()); ++i)
    values.emplace_back(names_[i], row.figures[i]);
  return events_.Add(row.step, values);
}

absl::Status TrainingLog::Draw() const { return WriteTextFile(folder_ / "loss.svg", LossCurve(rows_)); }

}  // namespace blazon::service
