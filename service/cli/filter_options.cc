#include "service/cli/filter_options.h"

#include "retrieval/filter.h"
#include "service/rpc/convert_retrieval.h"

namespace blazon::service::cli {

void AddFilterOptions(CLI::App& command, FilterFlags& flags) {
  command.add_option("--path-prefix", flags.path_prefix, "Only documents whose path begins so")->type_name("TEXT");
  command
      .add_option(
          "--filter", flags.condition,
          "Only documents of which this holds, such as 'year >= 2020 and lang in (\"en\", \"de\")': their "
          "metadata, and @path, @source, @title and @id; ==, !=, <, <=, >, >=, in, prefix, exists, and, or, not")
      ->type_name("CONDITION");
}

absl::StatusOr<v1::Filter> ToFilter(const FilterFlags& flags) {
  v1::Filter filter;
  filter.set_path_prefix(flags.path_prefix);
  if (!flags.condition.empty()) {
    absl::StatusOr<retrieval::Condition> where = retrieval::ParseCondition(flags.condition);
    if (!where.ok()) return where.status();
    *filter.mutable_where() = rpc::ToProto(*where);
  }
  return filter;
}

}  // namespace blazon::service::cli
