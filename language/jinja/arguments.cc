#include "language/jinja/arguments.h"

#include "absl/strings/str_cat.h"

namespace blazon::language::jinja {

std::vector<std::optional<Value>> Arguments::Bind(Execution& run, std::string_view function,
                                                  std::initializer_list<std::string_view> names) const {
  std::vector<std::optional<Value>> values(names.size());
  if (positional.size() > names.size()) {
    run.Fail(
        absl::StrCat(std::string(function), " takes at most ", names.size(), " arguments, not ", positional.size()));
    return values;
  }
  for (size_t i = 0; i < positional.size(); ++i) values[i] = positional[i];
  for (const auto& [name, value] : named) {
    size_t index = 0;
    while (index < names.size() && names.begin()[index] != name) ++index;
    if (index == names.size() || values[index]) {
      run.Fail(absl::StrCat(std::string(function), index == names.size() ? " has no argument '" : " is given twice '",
                            name, "'"));
      return values;
    }
    values[index] = value;
  }
  return values;
}

int64_t IntegerOr(Execution& run, const std::optional<Value>& value, int64_t otherwise) {
  if (!value) return otherwise;
  if (value->IsInteger()) return value->Integer();
  run.Fail(absl::StrCat("an integer is needed here, not ", std::string(value->TypeName())));
  return otherwise;
}

bool TruthOr(const std::optional<Value>& value, bool otherwise) { return value ? value->Truth() : otherwise; }

const Text* TextOrNull(Execution& run, const std::optional<Value>& value) {
  if (!value || value->Is<None>()) return nullptr;
  if (value->AsText() == nullptr) {
    run.Fail(absl::StrCat("a string is needed here, not ", std::string(value->TypeName())));
  }
  return value->AsText();
}

}  // namespace blazon::language::jinja
