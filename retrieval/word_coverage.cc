#include "retrieval/word_coverage.h"

#include <cmath>
#include <memory>
#include <vector>

namespace blazon::retrieval {
namespace {

int CountRow(const Fts5ExtensionApi*, Fts5Context*, void* count) {
  ++*static_cast<int64_t*>(count);
  return SQLITE_OK;
}

// The weight of each phrase of the running query, computed once a query.
int Weights(const Fts5ExtensionApi* api, Fts5Context* context, std::vector<double>** weights) {
  *weights = static_cast<std::vector<double>*>(api->xGetAuxdata(context, 0));
  if (*weights) return SQLITE_OK;
  auto made = std::make_unique<std::vector<double>>();
  sqlite3_int64 rows = 0;
  int code = api->xRowCount(context, &rows);
  for (int phrase = 0; code == SQLITE_OK && phrase < api->xPhraseCount(context); ++phrase) {
    int64_t containing = 0;
    code = api->xQueryPhrase(context, phrase, &containing, CountRow);
    made->push_back(
        std::log(1.0 + (static_cast<double>(rows - containing) + 0.5) / (static_cast<double>(containing) + 0.5)));
  }
  if (code != SQLITE_OK) return code;
  *weights = made.get();
  return api->xSetAuxdata(context, made.release(), [](void* data) { delete static_cast<std::vector<double>*>(data); });
}

void WordCoverage(const Fts5ExtensionApi* api, Fts5Context* context, sqlite3_context* result, int, sqlite3_value**) {
  std::vector<double>* weights = nullptr;
  int instances = 0;
  int code = Weights(api, context, &weights);
  if (code == SQLITE_OK) code = api->xInstCount(context, &instances);
  if (code != SQLITE_OK) return sqlite3_result_error_code(result, code);
  std::vector<bool> present(weights->size());
  for (int i = 0; i < instances; ++i) {
    int phrase = 0, column = 0, offset = 0;
    code = api->xInst(context, i, &phrase, &column, &offset);
    if (code != SQLITE_OK) return sqlite3_result_error_code(result, code);
    present[static_cast<size_t>(phrase)] = true;
  }
  double covered = 0, total = 0;
  for (size_t i = 0; i < weights->size(); ++i) {
    total += (*weights)[i];
    if (present[i]) covered += (*weights)[i];
  }
  sqlite3_result_double(result, total > 0 ? covered / total : 0);
}

}  // namespace

absl::Status RegisterWordCoverage(Database& database) {
  fts5_api* api = nullptr;
  sqlite3_stmt* statement = nullptr;
  int code = sqlite3_prepare_v2(database.handle(), "SELECT fts5(?1)", -1, &statement, nullptr);
  if (code == SQLITE_OK) {
    sqlite3_bind_pointer(statement, 1, &api, "fts5_api_ptr", nullptr);
    sqlite3_step(statement);
  }
  sqlite3_finalize(statement);
  if (!api) return absl::FailedPreconditionError("this SQLite was built without FTS5");
  code = api->xCreateFunction(api, "word_coverage", nullptr, WordCoverage, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : database.Error(code, "add a function to");
}

}  // namespace blazon::retrieval
