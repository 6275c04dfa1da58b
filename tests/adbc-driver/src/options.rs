//! Options are those of the other driver.

use adbc_core::{
    Optionable,
    error::Result,
    options::{OptionConnection, OptionDatabase, OptionStatement, OptionValue},
};

use crate::{SplitConnection, SplitDatabase, SplitStatement};

macro_rules! handed_on {
    ($type:ty, $option:ty) => {
        impl Optionable for $type {
            type Option = $option;

            fn set_option(&mut self, key: $option, value: OptionValue) -> Result<()> {
                self.real.set_option(key, value)
            }

            fn get_option_string(&self, key: $option) -> Result<String> {
                self.real.get_option_string(key)
            }

            fn get_option_bytes(&self, key: $option) -> Result<Vec<u8>> {
                self.real.get_option_bytes(key)
            }

            fn get_option_int(&self, key: $option) -> Result<i64> {
                self.real.get_option_int(key)
            }

            fn get_option_double(&self, key: $option) -> Result<f64> {
                self.real.get_option_double(key)
            }
        }
    };
}

handed_on!(SplitDatabase, OptionDatabase);
handed_on!(SplitConnection, OptionConnection);
handed_on!(SplitStatement, OptionStatement);
