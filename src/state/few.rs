//! Lists of which most have one element.

use std::ops::Deref;

/// A list that needs no memory of its own as long as it has at most one element: the ports and the
/// addresses of most tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Few<T>(Elements<T>);

/// The elements. One is never in a slice, so that equal lists are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Elements<T> {
    One(T),
    Others(Box<[T]>),
}

impl<T> Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.0 {
            Elements::One(element) => std::slice::from_ref(element),
            Elements::Others(elements) => elements,
        }
    }
}

impl<'a, T> IntoIterator for &'a Few<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T> From<Vec<T>> for Few<T> {
    fn from(mut elements: Vec<T>) -> Self {
        match elements.pop() {
            Some(last) if elements.is_empty() => Self(Elements::One(last)),
            last => {
                elements.extend(last);
                Self(Elements::Others(elements.into()))
            }
        }
    }
}

impl<T: PartialEq> Few<T> {
    /// The elements, or none if all of them say that nothing is known: that leaves what was known.
    pub fn unless_all(elements: Vec<T>, nothing: &T) -> Self {
        match elements.iter().all(|element| element == nothing) {
            true => Self::default(),
            false => elements.into(),
        }
    }
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self::from(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_the_elements_that_it_was_made_of() {
        for count in 0..4 {
            let elements: Vec<u16> = (0..count).collect();
            assert_eq!(*Few::from(elements.clone()), *elements);
        }
        assert!(Few::<u16>::default().is_empty());
        assert!(Few::unless_all(vec![0, 0], &0).is_empty());
        assert_eq!(*Few::unless_all(vec![0, 1], &0), [0, 1]);
    }

    #[test]
    fn one_port_takes_no_more_than_a_slice_of_them() {
        assert_eq!(size_of::<Few<u16>>(), size_of::<Box<[u16]>>());
    }
}
