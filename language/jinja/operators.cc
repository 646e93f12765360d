#include "language/jinja/operators.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "language/jinja/characters.h"
#include "language/jinja/formatting.h"

namespace blazon::language::jinja {
namespace {

Value NoOperator(Execution& run, std::string_view op, const Value& left, const Value& right) {
  if (left.IsUndefined()) return run.Fail(left.As<Undefined>().what);
  if (right.IsUndefined()) return run.Fail(right.As<Undefined>().what);
  return run.Fail(absl::StrCat("'", std::string(op), "' is not defined between ", std::string(left.TypeName()), " and ",
                               std::string(right.TypeName())));
}

Value IntegerArithmetic(Execution& run, std::string_view op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflows = false;
  if (op == "+") {
    overflows = __builtin_add_overflow(a, b, &result);
  } else if (op == "-") {
    overflows = __builtin_sub_overflow(a, b, &result);
  } else if (op == "*") {
    overflows = __builtin_mul_overflow(a, b, &result);
  } else if (op == "**") {
    if (b < 0) {
      if (a == 0) return run.Fail("0 cannot be raised to a negative power");
      return std::pow(static_cast<double>(a), static_cast<double>(b));
    }
    result = 1;
    if (a == 0 || a == 1) {
      result = b == 0 ? 1 : a;
    } else if (a == -1) {
      result = b % 2 == 0 ? 1 : -1;
    } else {
      for (int64_t i = 0; i < b && !overflows; ++i) overflows = __builtin_mul_overflow(result, a, &result);
    }
  } else {
    if (b == 0) return run.Fail("division by zero");
    // Quotients round down and remainders have the divisor's sign.
    if (a == std::numeric_limits<int64_t>::min() && b == -1) {
      overflows = op != "%";
    } else {
      const int64_t quotient = a / b, remainder = a % b;
      const bool adjust = remainder != 0 && (remainder < 0) != (b < 0);
      result = op == "%" ? remainder + (adjust ? b : 0) : quotient - (adjust ? 1 : 0);
    }
  }
  if (overflows) return run.Refuse("an integer of more than 64 bits");
  return result;
}

Value FloatArithmetic(Execution& run, std::string_view op, double a, double b) {
  if (op == "+") return a + b;
  if (op == "-") return a - b;
  if (op == "*") return a * b;
  if (op == "**") {
    if (a == 0 && b < 0) return run.Fail("0.0 cannot be raised to a negative power");
    const double result = std::pow(a, b);
    if (std::isnan(result) && !std::isnan(a) && !std::isnan(b)) return run.Refuse("a complex number");
    if (std::isinf(result) && !std::isinf(a) && !std::isinf(b)) return run.Fail("the result is too large");
    return result;
  }
  if (b == 0) return run.Fail("division by zero");
  if (op == "/") return a / b;
  double remainder = std::fmod(a, b);
  double quotient = (a - remainder) / b;
  if (remainder != 0) {
    if ((b < 0) != (remainder < 0)) {
      remainder += b;
      quotient -= 1;
    }
  } else {
    remainder = std::copysign(0.0, b);
  }
  if (op == "%") return remainder;
  if (quotient == 0) return std::copysign(0.0, a / b);
  double floor = std::floor(quotient);
  if (quotient - floor > 0.5) floor += 1;
  return floor;
}

Value Repeat(Execution& run, const Value& value, int64_t times) {
  const auto count = static_cast<size_t>(std::max<int64_t>(times, 0));
  if (const Text* text = value.AsText()) {
    if (!text->empty() && count > std::numeric_limits<size_t>::max() / text->size()) run.MayMakeText(SIZE_MAX);
    if (run.failed() || !run.MayMakeText(count * text->size())) return Value();
    Text result;
    if (text->empty()) return result;
    for (size_t i = 0; i < count; ++i) result.Append(*text);
    return result;
  }
  const std::vector<Value>& items = value.AsSequence()->items;
  if (!items.empty() && count > std::numeric_limits<size_t>::max() / items.size()) run.MayMakeItems(SIZE_MAX / 64);
  std::vector<Value> result;
  if (run.failed() || !run.MayMakeItems(items.empty() ? 0 : count * items.size())) return Value();
  for (size_t i = 0; i < count && !items.empty(); ++i) result.insert(result.end(), items.begin(), items.end());
  return run.MakeList(std::move(result), value.AsSequence()->kind);
}

bool IsListOrTuple(const Value& value) {
  const Sequence* sequence = value.AsSequence();
  return sequence != nullptr && (sequence->kind == SequenceKind::kList || sequence->kind == SequenceKind::kTuple);
}

// -1, 0 or 1; an error and 0 where Python has no order.
int Order(Execution& run, std::string_view op, const Value& a, const Value& b) {
  if (a.IsNumber() && b.IsNumber()) {
    if (a.IsInteger() && b.IsInteger()) return a.Integer() < b.Integer() ? -1 : a.Integer() > b.Integer();
    const auto exact = [](const Value& v) -> long double { return v.IsInteger() ? v.Integer() : v.As<double>(); };
    const long double x = exact(a), y = exact(b);
    if (std::isnan(x) || std::isnan(y)) run.Refuse("an order of nan");
    return x < y ? -1 : x > y;
  }
  if (a.AsText() != nullptr && b.AsText() != nullptr) {
    // UTF-8 sorts as its characters do.
    const int order = a.AsText()->bytes().compare(b.AsText()->bytes());
    return order < 0 ? -1 : order > 0;
  }
  if (IsListOrTuple(a) && IsListOrTuple(b) && a.AsSequence()->kind == b.AsSequence()->kind) {
    const std::vector<Value>&x = a.AsSequence()->items, &y = b.AsSequence()->items;
    for (size_t i = 0; i < std::min(x.size(), y.size()) && run.CountSteps(); ++i) {
      if (!Equals(run, x[i], y[i])) return Order(run, op, x[i], y[i]);
    }
    return x.size() < y.size() ? -1 : x.size() > y.size();
  }
  NoOperator(run, op, a, b);
  return 0;
}

bool Contains(Execution& run, const Value& container, const Value& item) {
  if (const Text* text = container.AsText()) {
    if (item.AsText() != nullptr) return text->bytes().find(item.AsText()->bytes()) != std::string::npos;
    run.Fail(item.IsUndefined()
                 ? item.As<Undefined>().what
                 : absl::StrCat("'in' a string needs a string on its left, not ", std::string(item.TypeName())));
    return false;
  }
  if (const Dict* dict = container.AsDict()) {
    if (item.AsSequence() != nullptr || item.AsDict() != nullptr) {
      run.Refuse("a container as key");
      return false;
    }
    return run.CountSteps(dict->items.size()) && dict->Find(item) != nullptr;
  }
  if (container.Is<GeneratorPtr>()) {
    run.Refuse("'in' a generator");
    return false;
  }
  if (container.AsSequence() == nullptr && !container.IsUndefined()) {
    run.Fail(absl::StrCat("a value of type ", std::string(container.TypeName()), " contains nothing"));
    return false;
  }
  if (container.IsUndefined()) return false;
  for (const Value& one : container.AsSequence()->items) {
    if (!run.CountSteps()) return false;
    if (Equals(run, one, item)) return true;
    if (run.failed()) return false;
  }
  return false;
}

}  // namespace

Value Arithmetic(Execution& run, std::string_view op, const Value& left, const Value& right) {
  if (left.IsNumber() && right.IsNumber()) {
    if (op != "/" && left.IsInteger() && right.IsInteger()) {
      return IntegerArithmetic(run, op, left.Integer(), right.Integer());
    }
    return FloatArithmetic(run, op, left.Number(), right.Number());
  }
  if (op == "+" && left.AsText() != nullptr && right.AsText() != nullptr) {
    if (!run.MayMakeText(left.AsText()->size() + right.AsText()->size())) return Value();
    Text result = *left.AsText();
    result.Append(*right.AsText());
    return result;
  }
  if (op == "+" && IsListOrTuple(left) && IsListOrTuple(right) && left.AsSequence()->kind == right.AsSequence()->kind) {
    if (!run.MayMakeItems(left.AsSequence()->items.size() + right.AsSequence()->items.size())) return Value();
    std::vector<Value> items = left.AsSequence()->items;
    items.insert(items.end(), right.AsSequence()->items.begin(), right.AsSequence()->items.end());
    return run.MakeList(std::move(items), left.AsSequence()->kind);
  }
  const auto repeats = [](const Value& v) { return v.AsText() != nullptr || IsListOrTuple(v); };
  if (op == "*" && repeats(left) && right.IsInteger()) return Repeat(run, left, right.Integer());
  if (op == "*" && repeats(right) && left.IsInteger()) return Repeat(run, right, left.Integer());
  if (op == "%" && left.AsText() != nullptr && !right.IsUndefined()) return run.Refuse("formatting a string with %");
  return NoOperator(run, op, left, right);
}

Value Signed(Execution& run, std::string_view op, const Value& operand) {
  if (operand.IsUndefined()) return run.Fail(operand.As<Undefined>().what);
  if (!operand.IsNumber()) {
    return run.Fail(absl::StrCat("'", std::string(op), "' is not defined for ", std::string(operand.TypeName())));
  }
  if (operand.Is<double>()) return op == "-" ? -operand.As<double>() : operand.As<double>();
  return op == "-" ? IntegerArithmetic(run, "-", 0, operand.Integer()) : Value(operand.Integer());
}

bool Equals(Execution& run, const Value& left, const Value& right) {
  if (!run.CountSteps(std::min(left.Weight(), right.Weight()))) return false;
  const std::optional<bool> equal = Equal(left, right);
  if (!equal) run.Refuse(absl::StrCat("comparing two of type ", std::string(left.TypeName())));
  return equal.value_or(false);
}

bool Less(Execution& run, const Value& a, const Value& b) { return Order(run, "<", a, b) < 0; }

bool Compare(Execution& run, std::string_view op, const Value& left, const Value& right) {
  if (op == "==") return Equals(run, left, right);
  if (op == "!=") return !Equals(run, left, right);
  if (op == "in") return Contains(run, right, left);
  if (op == "not in") return !Contains(run, right, left);
  const int order = Order(run, op, left, right);
  if (op == "<") return order < 0;
  if (op == "<=") return order <= 0;
  return op == ">" ? order > 0 : order >= 0;
}

std::vector<Value> Iterate(Execution& run, const Value& value) {
  std::vector<Value> items;
  if (value.IsUndefined()) return items;
  if (const Sequence* sequence = value.AsSequence()) {
    if (run.MayMakeItems(sequence->items.size())) items = sequence->items;
  } else if (const Dict* dict = value.AsDict()) {
    for (const auto& [key, one] : dict->items) items.push_back(key);
  } else if (const Text* text = value.AsText()) {
    if (!run.MayMakeItems(CharacterCount(text->bytes()))) return items;
    for (size_t begin = 0; begin < text->size();) {
      const size_t end = begin + ByteOfCharacter(std::string_view(text->bytes()).substr(begin), 1);
      items.push_back(text->Part(begin, end));
      begin = end;
    }
  } else if (value.Is<GeneratorPtr>()) {
    Generator& generator = *value.As<GeneratorPtr>();
    items.assign(generator.items.begin() + static_cast<std::ptrdiff_t>(generator.next), generator.items.end());
    generator.next = generator.items.size();
    if (!generator.error.ok()) run.Raise(generator.error);
  } else {
    run.Fail(absl::StrCat("a value of type ", std::string(value.TypeName()), " cannot be walked through"));
  }
  return items;
}

}  // namespace blazon::language::jinja
