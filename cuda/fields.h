// FL_FIELDS(Type, a, b, ...) after an argument struct names the fields that Python gives, for the binding to fill:
// visit("a", of.a), visit("b", of.b), ... A field that is not listed cannot be given, and all that are listed must be.
#pragma once

#define FL_FIELDS(Type, ...)                             \
  template <class Visit>                                 \
  inline void each_field(Type& of, const Visit& visit) { \
    FL_EACH(FL_VISIT_FIELD, __VA_ARGS__)                 \
  }
#define FL_VISIT_FIELD(name) visit(#name, of.name);

// FL_EACH(macro, a, b, ...) is macro(a) macro(b) ...: it names itself again at its end, once for each scan of the text.
#define FL_EACH(macro, ...) FL_SCAN(FL_EACH_STEP(macro, __VA_ARGS__))
#define FL_EACH_STEP(macro, a, ...) macro(a) __VA_OPT__(FL_EACH_AGAIN FL_NO_ARGUMENTS(macro, __VA_ARGS__))
#define FL_EACH_AGAIN() FL_EACH_STEP
#define FL_NO_ARGUMENTS ()
#define FL_SCAN(...) FL_SCAN_4(FL_SCAN_4(FL_SCAN_4(FL_SCAN_4(__VA_ARGS__))))
#define FL_SCAN_4(...) FL_SCAN_1(FL_SCAN_1(FL_SCAN_1(FL_SCAN_1(__VA_ARGS__))))
#define FL_SCAN_1(...) __VA_ARGS__
