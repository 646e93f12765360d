// A run's numbers, step by step: log.csv, loss.svg drawn from it, and the same for TensorBoard (event_file.h).
//
// Thread safety: none.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "service/training/event_file.h"

namespace blazon::service {

struct TrainingRow {
  int64_t step = 0;
  double loss = 0;
  double rate = 0;                      // learning rate
  double gradient = 0;                  // norm before clipping
  int64_t tokens = 0;                   // computed so far
  std::optional<double> held_out = {};  // loss
  std::vector<double> figures = {};     // of TrainingTask::Figures
  double seconds = 0;                   // since the process began to train
};

// The curve as an SVG picture, its axes labelled. rows: in order; those whose loss is not finite are left out.
std::string LossCurve(const std::vector<TrainingRow>& rows);

class TrainingLog {
 public:
  // Goes on with `folder`/log.csv behind row `step`: later rows, of steps that a killed process took after its last
  // checkpoint, are dropped. 0 begins anew. figures: names of further columns.
  static absl::StatusOr<TrainingLog> Open(const std::filesystem::path& folder, int64_t step,
                                          const std::vector<std::string>& figures = {});

  // In the file when it returns, though not on the disk.
  absl::Status Add(const TrainingRow& row);
  const std::vector<TrainingRow>& rows() const { return rows_; }
  // Writes loss.svg.
  absl::Status Draw() const;

 private:
  using File = std::unique_ptr<FILE, int (*)(FILE*)>;
  TrainingLog(std::filesystem::path folder, std::vector<TrainingRow> rows, File file, EventFile events)
      : folder_(std::move(folder)), rows_(std::move(rows)), file_(std::move(file)), events_(std::move(events)) {}

  std::filesystem::path folder_;
  std::vector<TrainingRow> rows_;
  File file_;
  EventFile events_;
  std::vector<std::string> names_ = {};  // of the rows' figures
};

}  // namespace blazon::service
