use std::slice;

use serde::Deserializer;
use serde::de::value::{MapDeserializer, StrDeserializer};
use serde::de::{DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor};

use super::super::fault::{Error, Fault};
use super::super::filler::Filler;
use super::super::tree::{Entry, Node};
use super::De;

/// The entries of a list, less what is taken out.
pub struct Items<'t, 'k> {
    pub de: De<'t, 'k>,
    pub rest: slice::Iter<'t, Node>,
    pub gaps: bool,
}

impl<'t> SeqAccess<'t> for Items<'t, '_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'t>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        for item in self.rest.by_ref() {
            if !self.de.known.is_poisoned(item) {
                return De::new(item, self.de.known).read(seed).map(Some);
            }
            if self.gaps {
                return seed.deserialize(Filler::default()).map(Some).map_err(|_| self.de.locate(Error::raw(Fault::Consequence)));
            }
        }
        Ok(None)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

/// The entries of a mapping, less what is taken out, and then what is filled in.
pub struct Entries<'t, 'k> {
    pub de: De<'t, 'k>,
    pub rest: slice::Iter<'t, Entry>,
    pub fields: Option<&'static [&'static str]>,
    pub filled: std::vec::IntoIter<&'static str>,
    /// What stands behind the key that was read last; none for a key that is filled in.
    pub value: Option<&'t Node>,
}

impl<'t> MapAccess<'t> for Entries<'t, '_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'t>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let known = self.de.known;
        for entry in self.rest.by_ref() {
            if known.is_gone(entry) {
                continue;
            }
            if let Some(fields) = self.fields.filter(|fields| !fields.contains(&entry.name())) {
                known.note_unknown(self.de.node, entry, fields);
                continue;
            }
            self.value = Some(&entry.value);
            return De::key(&entry.key, known).read(seed).map(Some);
        }
        self.value = None;
        let Some(name) = self.filled.next() else { return Ok(None) };
        let name: StrDeserializer<'_, Error> = name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'t>>(&mut self, seed: V) -> Result<V::Value, Error> {
        match self.value.take() {
            Some(value) => De::new(value, self.de.known).read(seed),
            None => seed.deserialize(Filler::default()).map_err(|_| self.de.locate(Error::raw(Fault::Consequence))),
        }
    }
}

/// One of several forms: a word, or a mapping with one key.
pub struct Variant<'t, 'k> {
    /// The value as a whole.
    pub de: De<'t, 'k>,
    /// The scalar itself, or the one key of the mapping.
    pub name: De<'t, 'k>,
    pub content: Option<&'t Node>,
}

impl<'t, 'k> Variant<'t, 'k> {
    fn content(&self) -> Option<De<'t, 'k>> {
        self.content.map(|content| De::new(content, self.de.known))
    }
}

impl<'t> EnumAccess<'t> for Variant<'t, '_> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'t>>(self, seed: T) -> Result<(T::Value, Self), Error> {
        Ok((self.name.read(seed)?, self))
    }
}

impl<'t> VariantAccess<'t> for Variant<'t, '_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.content() {
            Some(content) if !content.is_null() => content.invalid(&"nothing"),
            _ => Ok(()),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'t>>(self, seed: T) -> Result<T::Value, Error> {
        match self.content() {
            Some(content) => content.read(seed),
            // A bare name is a mapping with everything left out; what that lacks is missing from the name.
            None => seed.deserialize(MapDeserializer::new(std::iter::empty::<(&str, &str)>())),
        }
    }

    fn tuple_variant<V: Visitor<'t>>(self, size: usize, visitor: V) -> Result<V::Value, Error> {
        match self.content() {
            Some(content) => content.deserialize_tuple(size, visitor),
            None => self.de.invalid(&visitor),
        }
    }

    fn struct_variant<V: Visitor<'t>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        match self.content() {
            Some(content) => content.deserialize_struct("", fields, visitor),
            None => visitor.visit_map(MapDeserializer::<_, Error>::new(std::iter::empty::<(&str, &str)>())),
        }
    }
}
