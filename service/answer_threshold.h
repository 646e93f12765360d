// Below which confidence a question over a collection is refused: what was calibrated for the collection is kept with
// it.
#pragma once

#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "retrieval/collection.h"

namespace blazon::service {

// OK when it is 0 to 1; kInvalidArgument names refuse_below.
absl::Status CheckRefuseBelow(double refuse_below);

// Durable when it returns; nullopt: none is kept any more. kFailedPrecondition: open for reading.
absl::Status KeepRefuseBelow(retrieval::Collection& collection, std::optional<double> refuse_below);

// nullopt: none is kept.
absl::StatusOr<std::optional<double>> KeptRefuseBelow(const retrieval::Collection& collection);

// Of CollectionStats::settings. kDataLoss: it is no such number.
absl::StatusOr<std::optional<double>> KeptRefuseBelow(const retrieval::CollectionStats& stats);

}  // namespace blazon::service
