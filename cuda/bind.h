// How values come from Python: every field by its name. Arrays are tuples that fieldlab/ops/native.py makes and checks:
// (address, array) or (address, stride over samples, stride over channels, array), whose last item keeps the memory alive
// until the call is over; None is no array. A struct in a struct is a dictionary.
#pragma once
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <vector>

#include "operations.h"

namespace fieldlab {
namespace nb = nanobind;

template <class T>
void fill(T& to, nb::handle given, const char* what);

// Those whose Python form is not field by field.
void assign(HashGrid& to, nb::handle given);
void assign(LowRank& to, nb::handle given);
void assign(RbfTree& to, nb::handle given);
void assign(FieldProgram& to, nb::handle given);

inline PyObject* array_item(nb::handle array, Py_ssize_t i) {
  if (!PyTuple_Check(array.ptr()) || PyTuple_Size(array.ptr()) <= i) throw std::bad_cast();
  return PyTuple_GetItem(array.ptr(), i);
}

template <class T>
void assign(T*& to, nb::handle array) {
  to = array.is_none() ? nullptr : reinterpret_cast<T*>(nb::cast<std::uintptr_t>(nb::handle(array_item(array, 0))));
}
template <class T>
void assign(Matrix<T>& to, nb::handle array) {
  assign(to.data, array);
  if (array.is_none()) return;
  to.stride_sample = nb::cast<std::int64_t>(nb::handle(array_item(array, 1)));
  to.stride_channel = nb::cast<std::int64_t>(nb::handle(array_item(array, 2)));
}
template <int N>
void assign(float (&to)[N], nb::handle values) {
  for (int i = 0; i < N; ++i) to[i] = nb::cast<float>(nb::handle(array_item(values, i)));
}
template <class T>
void assign(T& to, nb::handle value) {
  if constexpr (std::is_enum_v<T>)
    to = static_cast<T>(nb::cast<int>(value));
  else if constexpr (std::is_arithmetic_v<T>)
    to = nb::cast<T>(value);
  else
    fill(to, value, "a part");
}

// Fills all fields of a struct from a dictionary, which must have each of them and no others.
template <class T>
void fill(T& to, nb::handle given, const char* what) {
  if (!PyDict_Check(given.ptr())) throw std::bad_cast();
  const auto wrong = [what](const std::string& how) { return nb::type_error((what + (" " + how)).c_str()); };
  std::string names;
  Py_ssize_t n = 0;
  each_field(to, [&](const char* name, auto& field) {
    PyObject* value = PyDict_GetItemString(given.ptr(), name);
    if (value == nullptr) throw wrong(std::string("needs ") + name);
    try {
      assign(field, nb::handle(value));
    } catch (const std::bad_cast&) {
      throw wrong(std::string("takes no such ") + name);
    }
    ++n;
  });
  if (PyDict_Size(given.ptr()) == n) return;
  each_field(to, [&](const char* name, auto&) { names += std::string(" ") + name; });
  throw wrong("takes these and nothing else:" + names);
}

// m.name(target, field=..., ...). Python's other threads run on while the operation does.
template <class Args>
void bind_operation(nb::module_& m, const char* name, void (*run)(const Args&, const Target&)) {
  m.def(name, [name, run](const Target& target, const nb::kwargs& given) {
    Args args{};
    fill(args, given, name);
    const nb::gil_scoped_release others_run;
    run(args, target);
  });
}

void bind_encoders(nb::module_& m);

}  // namespace fieldlab
